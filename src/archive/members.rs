//! What goes into an archive, and from where: listed beforehand, packed from where it lies.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rustix::fs::Stat;

use crate::dir::{Dir, Entry, Kind, RelativePath};

/// One entry of an archive to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// In the archive. Its directory must be a member before it.
    pub name: RelativePath,
    pub attributes: Attributes,
    pub source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Directory,
    /// Lies at `path` below the root of this index.
    File {
        root: usize,
        path: RelativePath,
        size: u64,
    },
}

/// What an archive keeps of a file or directory besides its name and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits only.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: SystemTime,
}

impl Attributes {
    pub fn of(stat: &Stat) -> Attributes {
        Attributes { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime: mtime(stat) }
    }
}

/// Times before 1970 and after 9999 become the nearest that every reader knows: no live file has them.
pub(super) fn mtime(stat: &Stat) -> SystemTime {
    const LAST: u64 = 253_402_300_799;
    match u64::try_from(stat.st_mtime) {
        Err(_) => UNIX_EPOCH,
        Ok(seconds) if seconds > LAST => UNIX_EPOCH + Duration::from_secs(LAST),
        Ok(seconds) => UNIX_EPOCH + Duration::new(seconds, stat.st_mtime_nsec as u32),
    }
}

pub(super) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Everything below some data directories, sorted, each directory before what is in it. With more than one
/// of them names begin with `data-0/`, `data-1/`, ….
pub fn below(roots: &[Dir]) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for (index, root) in roots.iter().enumerate() {
        let mut listing = Listing { root: index, prefix: None, members: &mut members };
        if roots.len() > 1 {
            let name = RelativePath::parse(&format!("data-{index}"))?;
            listing.push(name.clone(), &root.own_stat()?, Source::Directory);
            listing.prefix = Some(name);
        }
        listing.add_all(root, None)?;
    }
    Ok(members)
}

struct Listing<'a> {
    root: usize,
    prefix: Option<RelativePath>,
    members: &'a mut Vec<Member>,
}

impl Listing<'_> {
    fn add_all(&mut self, dir: &Dir, path: Option<&RelativePath>) -> Result<()> {
        for entry in dir.entries()? {
            let path = match path {
                Some(path) => path.join(&entry.name)?,
                None => RelativePath::parse(&entry.name)?,
            };
            self.add(dir, &entry, path)?;
        }
        Ok(())
    }

    fn add(&mut self, dir: &Dir, entry: &Entry, path: RelativePath) -> Result<()> {
        let name = match &self.prefix {
            Some(prefix) => RelativePath::parse(&format!("{}/{}", prefix.as_str(), path.as_str()))?,
            None => path.clone(),
        };
        match entry.kind {
            Kind::Directory => {
                let below = dir.dir(&entry.name)?;
                self.push(name, &below.own_stat()?, Source::Directory);
                self.add_all(&below, Some(&path))
            }
            Kind::File => {
                let stat = dir.stat(&entry.name)?;
                let stat =
                    stat.with_context(|| format!("`{}` is gone", dir.path_of(&entry.name).display()))?;
                let source = Source::File { root: self.root, path, size: size(&stat) };
                self.push(name, &stat, source);
                Ok(())
            }
            Kind::Other => {
                bail!("`{}` is neither a file nor a directory", dir.path_of(&entry.name).display())
            }
        }
    }

    fn push(&mut self, name: RelativePath, stat: &Stat, source: Source) {
        self.members.push(Member { name, attributes: Attributes::of(stat), source });
    }
}

/// Finds the directory that a path lies in, and holds it open: the next path mostly lies there too.
pub(super) struct Parents<'a> {
    roots: &'a [Dir],
    last: Option<(usize, RelativePath, Dir)>,
}

impl<'a> Parents<'a> {
    pub fn new(roots: &'a [Dir]) -> Parents<'a> {
        Parents { roots, last: None }
    }

    pub fn of(&mut self, root: usize, path: &RelativePath) -> Result<&Dir> {
        let top = self.roots.get(root).with_context(|| format!("there is no data directory {root}"))?;
        let Some(parent) = path.parent() else { return Ok(top) };
        let kept = self.last.take_if(|(kept_root, kept_path, _)| *kept_root == root && *kept_path == parent);
        let (_, _, dir) = match kept {
            Some(kept) => self.last.insert(kept),
            None => {
                let dir = top.dir_at(&parent)?;
                self.last.insert((root, parent, dir))
            }
        };
        Ok(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_listed_in_order_with_each_directory_before_its_content() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(one.path().join("ks/t")).unwrap();
        std::fs::write(one.path().join("ks/t/a"), "12").unwrap();
        std::fs::write(one.path().join("ks-b"), "").unwrap();
        let open = |dir: &tempfile::TempDir| Dir::open(dir.path()).unwrap();

        let names = |roots: &[Dir]| -> Vec<String> {
            below(roots).unwrap().into_iter().map(|member| member.name.as_str().to_owned()).collect()
        };

        assert_eq!(names(&[open(&one)]), ["ks", "ks/t", "ks/t/a", "ks-b"]);
        assert_eq!(
            names(&[open(&one), open(&two)]),
            ["data-0", "data-0/ks", "data-0/ks/t", "data-0/ks/t/a", "data-0/ks-b", "data-1"]
        );
    }

    #[test]
    fn a_symlink_is_refused_by_its_path() {
        let here = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", here.path().join("ks")).unwrap();
        let refused = below(&[Dir::open(here.path()).unwrap()]).unwrap_err().to_string();
        assert_eq!(
            refused,
            format!("`{}` is neither a file nor a directory", here.path().join("ks").display())
        );
    }
}
