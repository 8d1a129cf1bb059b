//! cassandra.yaml against the archive: what Cassandra would not start on. Judged from facts, no I/O.

use std::path::Path;

use crate::archive::manifest::Manifest;
use crate::archive::toc::Toc;
use crate::restore::compare::last_part;
use crate::restore::plan::{Findings, Verdict};

/// The format that a node writes, and reads, only where it need not be compatible with 4.x any more.
const SINCE_5_0: &str = "oa-big";

pub(super) fn compare(
    found: &Findings,
    manifest: &Manifest,
    toc: &Toc,
    archive: &Path,
    verdict: &mut Verdict,
) {
    let name = archive.display();
    let settings = manifest.node.is_known().then(|| differences(found, manifest));
    for Difference { setting, is, was } in settings.into_iter().flatten() {
        let (is, was) =
            (format!("cassandra.yaml says `{setting}: {is}`"), format!("`{name}` is of a node with `{was}`"));
        match found.is_new_container {
            true => verdict.warnings.push(format!(
                "{is}, and {was}: where its first start leaves that so, Cassandra refuses to start, and this is \
                 rolled back"
            )),
            false => verdict.refusals.push(format!("{is}, and {was}: Cassandra would refuse to start; set it as it \
                was")),
        }
    }
    if found.config.uuid_sstable_identifiers_enabled == Some(false)
        && let Some(file) = uuid_sstable(toc)
    {
        verdict.refusals.push(format!(
            "`{name}` holds sstables with ids that are not numbers, such as `{file}`, and cassandra.yaml says \
             `uuid_sstable_identifiers_enabled: false`: Cassandra would refuse to start; set it to true"
        ));
    }
    let is_compatible = found.config.storage_compatibility_mode.as_deref() == Some("CASSANDRA_4");
    if is_compatible && manifest.sstable_formats.iter().any(|format| format == SINCE_5_0) {
        verdict.refusals.push(format!(
            "`{name}` holds sstables of the format `{SINCE_5_0}`, and cassandra.yaml says \
             `storage_compatibility_mode: CASSANDRA_4`: Cassandra would refuse to start; set it to NONE, as it was"
        ));
    }
}

struct Difference {
    setting: &'static str,
    is: String,
    was: String,
}

/// What the node itself has told to be another is refused by its own words.
fn differences(found: &Findings, manifest: &Manifest) -> impl Iterator<Item = Difference> {
    let (config, theirs, own) = (&found.config, &manifest.node, found.identity.as_ref());
    let tokens = config.num_tokens.filter(|_| !config.has_initial_token);
    let class = |name: &str| last_part(name).to_owned();
    let settings = [
        (
            "cluster_name",
            config.cluster_name.clone(),
            theirs.cluster_name.clone(),
            own.map(|own| own.cluster_name.clone()),
        ),
        (
            "num_tokens",
            tokens.map(|count| count.to_string()),
            theirs.tokens.len().to_string(),
            own.map(|own| own.tokens.len().to_string()),
        ),
        (
            "partitioner",
            config.partitioner.as_deref().map(class),
            class(&theirs.partitioner),
            own.map(|own| class(&own.partitioner)),
        ),
    ];
    settings.into_iter().filter_map(|(setting, is, was, own)| {
        let is = is.filter(|is| *is != was)?;
        own.is_none_or(|own| own == was).then_some(Difference { setting, is, was })
    })
}

/// A file of an sstable whose id is no number: `nb-3gi1_0cqj_4w5s02fkkbcl6a5zoa-big-Data.db`.
fn uuid_sstable(toc: &Toc) -> Option<&str> {
    let names = toc.data_files().map(|(path, _)| path.file_name());
    names.into_iter().find(|name| {
        let parts: Vec<&str> = name.splitn(4, '-').collect();
        matches!(parts[..], [_, id, "big" | "bti", _] if !id.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use crate::restore::plan::tests::{found, good_toc, located, manifest, toc};
    use crate::restore::plan::{Findings, Verdict, judge};

    use super::*;

    fn told(found: &Findings, manifest: &Manifest) -> Verdict {
        judge(found, &located(), manifest, &good_toc(), true)
    }

    #[test]
    fn settings_on_which_cassandra_would_not_start_are_refused_unless_the_first_start_sets_them() {
        let (mut found, mut manifest) = (found(), manifest());
        found.identity = None;
        manifest.node.partitioner = "org.apache.cassandra.dht.Murmur3Partitioner".to_owned();
        let unknown = told(&found, &manifest).warnings.len();
        found.config.cluster_name = Some("elsewhere".to_owned());
        found.config.num_tokens = Some(256);
        found.config.partitioner = Some("RandomPartitioner".to_owned());
        let refusals = [
            "cassandra.yaml says `cluster_name: elsewhere`, and `/backup/t.tgz` is of a node with `c`: Cassandra \
             would refuse \
             to start; set it as it was",
            "cassandra.yaml says `num_tokens: 256`, and `/backup/t.tgz` is of a node with `1`: Cassandra would \
             refuse to \
             start; set it as it was",
            "cassandra.yaml says `partitioner: RandomPartitioner`, and `/backup/t.tgz` is of a node with \
             `Murmur3Partitioner`: Cassandra would refuse to start; set it as it was",
        ];
        assert_eq!(told(&found, &manifest).refusals, refusals);

        found.is_new_container = true;
        let verdict = told(&found, &manifest);
        assert_eq!((verdict.refusals.len(), verdict.warnings.len()), (0, unknown + 3));
        let first = "cassandra.yaml says `cluster_name: elsewhere`, and `/backup/t.tgz` is of a node with `c`: where \
            its first \
                     start leaves that so, Cassandra refuses to start, and this is rolled back";
        assert!(verdict.warnings.iter().any(|warning| warning == first), "{:?}", verdict.warnings);
    }

    #[test]
    fn tokens_that_are_named_one_by_one_and_settings_that_are_not_set_are_not_judged() {
        let (mut found, manifest) = (found(), manifest());
        assert_eq!(told(&found, &manifest), Verdict::default());
        (found.config.num_tokens, found.config.has_initial_token) = (Some(256), true);
        found.config.partitioner = Some("some.package.p".to_owned());
        assert_eq!(told(&found, &manifest), Verdict::default());
    }

    #[test]
    fn sstables_with_ids_that_the_node_does_not_read_are_refused() {
        let mut found = found();
        found.config.uuid_sstable_identifiers_enabled = Some(false);
        assert_eq!(told(&found, &manifest()), Verdict::default());
        let name = "nb-3gi1_0cqj_4w5s02fkkbcl6a5zoa-big-Data.db";
        let toc = toc(&format!("ks/users-0123456789abcdef0123456789abcdef/{name}"));
        assert_eq!(
            judge(&found, &located(), &manifest(), &toc, true).refusals,
            [format!(
                "`/backup/t.tgz` holds sstables with ids that are not numbers, such as `{name}`, and cassandra.yaml \
                 says \
                 `uuid_sstable_identifiers_enabled: false`: Cassandra would refuse to start; set it to true"
            )]
        );
        found.config.uuid_sstable_identifiers_enabled = Some(true);
        assert_eq!(judge(&found, &located(), &manifest(), &toc, false), Verdict::default());
    }

    #[test]
    fn sstables_of_5_0_are_refused_where_the_node_is_to_stay_compatible_with_4_0() {
        let (mut found, mut manifest) = (found(), manifest());
        manifest.sstable_formats = vec!["da-bti".to_owned(), "oa-big".to_owned()];
        for fine in [None, Some("UPGRADING"), Some("NONE")] {
            found.config.storage_compatibility_mode = fine.map(str::to_owned);
            assert_eq!(told(&found, &manifest), Verdict::default(), "{fine:?}");
        }
        found.config.storage_compatibility_mode = Some("CASSANDRA_4".to_owned());
        assert_eq!(
            told(&found, &manifest).refusals,
            ["`/backup/t.tgz` holds sstables of the format `oa-big`, and cassandra.yaml says \
                 `storage_compatibility_mode: \
              CASSANDRA_4`: Cassandra would refuse to start; set it to NONE, as it was"]
        );
        // Seen on 5.0.5: it reads these.
        manifest.sstable_formats = vec!["da-bti".to_owned()];
        assert_eq!(told(&found, &manifest), Verdict::default());
    }
}
