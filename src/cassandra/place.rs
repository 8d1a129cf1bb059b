//! A directory of the node: inside the container as it is configured, and on this host where it is mounted.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::dir::{Dir, RelativePath, is_not_found};
use crate::docker::{Container, Facts, PathInside, RunState};
use crate::error::Error;

/// Why it is none of this host's directories.
pub const OWN_LAYER: &str = "it lies in the container's own layer, not on a mount";

/// So many characters of a container's id Docker itself shows.
const SHORT_ID: usize = 12;

/// Symlinks followed before it counts as a loop, as the kernel has it.
const MOST_SYMLINKS: usize = 40;

/// One directory of the node, inside and on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As Cassandra is configured, for messages and the manifest.
    pub container_path: String,
    /// For messages, and to know one node from another. Never opened: see [`Place::open`]. In the container's own layer it
    /// is written as `docker cp` has it.
    pub host_path: PathBuf,
    /// What the host's administrator mounted, by a path that the container cannot change.
    mount: PathBuf,
    /// From there on names belong to the container's user.
    below: Option<RelativePath>,
    /// On no mount: it is reached through the container's processes, and gone with the container.
    pub is_in_own_layer: bool,
}

impl Place {
    /// The directory itself, through no symlink below its mount.
    pub fn open(&self) -> Result<Dir> {
        let mount = Dir::open(&self.mount)?;
        match &self.below {
            None => Ok(mount),
            Some(below) => mount.dir_at(below),
        }
    }

    /// What is mounted; Docker makes the source of a bind mount only when the container starts.
    pub fn open_mount_or_make(&self) -> Result<Dir> {
        std::fs::create_dir_all(&self.mount)
            .with_context(|| format!("cannot make `{}`", self.mount.display()))?;
        Dir::open(&self.mount)
    }

    /// The directory itself, or the one above it that is there.
    pub fn open_existing_part(&self) -> Result<Dir> {
        let existing = self.mount.ancestors().find(|ancestor| ancestor.exists());
        let existing = existing.unwrap_or(Path::new("/"));
        let mut dir = Dir::open(existing)?;
        if existing != self.mount {
            return Ok(dir);
        }
        for name in self.names_below_mount() {
            match dir.dir_if_there(name)? {
                Some(below) => dir = below,
                None => break,
            }
        }
        Ok(dir)
    }

    /// The mount, where a path of this host leads through it: the rest of that path is the container's to change.
    pub fn mount_above(&self, path: &Path) -> Option<&Path> {
        if self.is_in_own_layer {
            return None;
        }
        let mount = self.mount.canonicalize().ok()?;
        let (mut reached, mut followed) = (PathBuf::from("/"), 0);
        let names = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
        let mut rest: Vec<OsString> = names(&std::path::absolute(path).ok()?);
        while let Some(name) = rest.pop() {
            if reached == mount {
                return Some(&self.mount);
            }
            match name.as_bytes() {
                b"/" => reached = PathBuf::from("/"),
                b".." => drop(reached.pop()),
                _ => {
                    let next = reached.join(&name);
                    match std::fs::read_link(&next) {
                        Ok(target) if followed < MOST_SYMLINKS => {
                            followed += 1;
                            rest.extend(names(&target));
                        }
                        _ => reached = next,
                    }
                }
            }
        }
        None
    }

    /// The names that lead from the mount to the directory.
    pub fn names_below_mount(&self) -> impl Iterator<Item = &str> {
        self.below.iter().flat_map(RelativePath::names)
    }

    /// The directory that holds it, opened as safely, and its name there.
    pub fn open_parent(&self) -> Result<(Dir, String)> {
        let name = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            name.with_context(|| format!("`{}` has no name that is UTF-8", path.display()))
        };
        match &self.below {
            None => Ok((Dir::open(self.mount.parent().unwrap_or(Path::new("/")))?, name(&self.mount)?)),
            Some(below) => {
                let mount = Dir::open(&self.mount)?;
                let parent = below.parent().map_or(Ok(None), |parent| mount.dir_at(&parent).map(Some))?;
                Ok((parent.unwrap_or(mount), below.file_name().to_owned()))
            }
        }
    }

    /// The container's directory and the host's must be one inode: a mount that moved, or a socket of another
    /// host's engine, would make us work on a stranger's files.
    fn prove(&self, pid: i64, resolved: &str) -> std::result::Result<(), String> {
        let shown = self.host_path.display();
        let inside = match open_inside(pid, resolved) {
            Ok(inside) => inside,
            // Cassandra makes its directories itself, some of them late.
            Err(error) if is_not_found(&error) && self.open().is_err_and(|error| is_not_found(&error)) => {
                return Ok(());
            }
            Err(error) if is_permission_denied(&error) => {
                let why =
                    "it cannot be compared with the container's view without root; run with `become: true`";
                return Err(why.to_owned());
            }
            Err(error) => return Err(format!("it cannot be seen through process {pid}: {error:#}")),
        };
        let outside = self.open().map_err(|error| format!("`{shown}` on this host: {error:#}"))?;
        match inside.is(&outside) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("`{shown}` on this host is another directory than the container sees")),
            Err(error) => Err(format!("{error:#}")),
        }
    }
}

/// A directory as a process of the container sees it. `resolved` has no symlink: one that was planted since is
/// refused, as it would lead to this host's files.
fn open_inside(pid: i64, resolved: &str) -> Result<Dir> {
    let root = Dir::open(Path::new(&format!("/proc/{pid}/root")))?;
    root.dir_at(&RelativePath::parse(resolved.trim_start_matches('/'))?)
}

fn is_permission_denied(error: &anyhow::Error) -> bool {
    let denied =
        |cause: &rustix::io::Errno| matches!(*cause, rustix::io::Errno::ACCESS | rustix::io::Errno::PERM);
    error.chain().any(|cause| cause.downcast_ref().is_some_and(denied))
}

/// Follows paths from the container's view to the host's.
pub struct PathFinder<'a> {
    pub container: &'a Container,
    pub found: &'a Facts,
    /// What was asked already: each question is a round trip.
    symlinks: HashMap<String, Option<String>>,
}

impl<'a> PathFinder<'a> {
    pub fn new(container: &'a Container, found: &'a Facts) -> PathFinder<'a> {
        PathFinder { container, found, symlinks: HashMap::new() }
    }

    pub async fn place(&mut self, container_path: String) -> Result<Place> {
        let fail = |why: String| Error::HostPath {
            container: self.container.name.clone(),
            path: container_path.clone(),
            why,
        };
        let resolved =
            self.resolve(&container_path).await?.ok_or_else(|| fail("its symlinks go in a circle".into()))?;
        let inside = Path::new(&resolved);
        let mounts = &self.found.mounts;
        let covering = mounts.iter().filter(|mount| inside.starts_with(&mount.container_path));
        let Some(mount) = covering.max_by_key(|mount| mount.container_path.len()) else {
            if self.found.run_state == RunState::Running {
                return self.in_own_layer(container_path, &resolved);
            }
            return Err(fail(format!("{OWN_LAYER}, which can be read only while it runs")).into());
        };
        if !mount.is_on_host() {
            return Err(fail(format!("it lies on a mount of type {}", mount.kind)).into());
        }
        let nested = mounts.iter().find(|other| {
            other.container_path != resolved && Path::new(&other.container_path).starts_with(inside)
        });
        if let Some(nested) = nested {
            return Err(fail(format!("another mount, `{}`, lies below it", nested.container_path)).into());
        }
        if !mount.writable {
            // What the container may not change is none of its Cassandra's, whatever its configuration says.
            return Err(fail("it lies on a mount that is read-only for the container".to_owned()).into());
        }
        let below = inside.strip_prefix(&mount.container_path).unwrap_or(Path::new(""));
        let host_path = match below.as_os_str().is_empty() {
            true => PathBuf::from(&mount.host_path),
            false => Path::new(&mount.host_path).join(below),
        };
        // Where one mount's source lies below another's, its path is the container's to change.
        let outer = mounts.iter().filter(|outer| outer.is_on_host() && outer.writable);
        let outer = outer.filter(|outer| host_path.starts_with(&outer.host_path));
        let outer = outer.min_by_key(|outer| outer.host_path.len()).unwrap_or(mount);
        let mount = PathBuf::from(&outer.host_path);
        let below = match host_path.strip_prefix(&mount).unwrap_or(Path::new("")).to_str() {
            Some("") => None,
            Some(path) => Some(RelativePath::parse(path)?),
            None => return Err(fail(format!("`{}` is not a UTF-8 path", host_path.display())).into()),
        };
        let place =
            Place { container_path: container_path.clone(), host_path, mount, below, is_in_own_layer: false };
        if self.found.run_state == RunState::Running {
            place.prove(self.found.pid, &resolved).map_err(fail)?;
        }
        Ok(place)
    }

    /// By way of a process of the container: its storage driver tells no path that would outlive it.
    fn in_own_layer(&self, container_path: String, resolved: &str) -> Result<Place> {
        let id: String = self.container.id.chars().take(SHORT_ID).collect();
        Ok(Place {
            container_path,
            host_path: PathBuf::from(format!("{id}:{resolved}")),
            mount: PathBuf::from(format!("/proc/{}/root", self.found.pid)),
            below: Some(RelativePath::parse(resolved.trim_start_matches('/'))?),
            is_in_own_layer: true,
        })
    }

    /// The same for a directory that not every version has: `None` where none was made in the container's own layer. Of a
    /// container that was never started that is not known.
    pub async fn place_once_made(&mut self, container_path: String) -> Result<Option<Place>> {
        if self.found.run_state != RunState::Created
            && let Some(resolved) = self.resolve(&container_path).await?
            && !self.found.mounts.iter().any(|mount| Path::new(&resolved).starts_with(&mount.container_path))
            && self.container.stat(&resolved).await?.is_none()
        {
            return Ok(None);
        }
        self.place(container_path).await.map(Some)
    }

    /// The path without symlinks; what is not there yet is taken as it is. `None`: a loop.
    pub async fn resolve(&mut self, path: &str) -> Result<Option<String>> {
        let mut resolved = String::new();
        let mut rest: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut followed = 0;
        while let Some(name) = rest.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => resolved.truncate(resolved.rfind('/').unwrap_or(0)),
                name => {
                    let next = format!("{resolved}/{name}");
                    let Some(target) = self.symlink_target(&next).await? else {
                        resolved = next;
                        continue;
                    };
                    followed += 1;
                    if followed > MOST_SYMLINKS {
                        return Ok(None);
                    }
                    if target.starts_with('/') {
                        resolved.clear();
                    }
                    rest.extend(target.split('/').rev().map(str::to_owned));
                }
            }
        }
        Ok(Some(if resolved.is_empty() { "/".to_owned() } else { resolved }))
    }

    async fn symlink_target(&mut self, path: &str) -> Result<Option<String>> {
        if let Some(known) = self.symlinks.get(path) {
            return Ok(known.clone());
        }
        let target = match self.container.stat(path).await? {
            Some(PathInside::Symlink { target }) => Some(target),
            Some(PathInside::Directory | PathInside::Other) | None => None,
        };
        self.symlinks.insert(path.to_owned(), target.clone());
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn place(mount: &Path, below: &str) -> Place {
        Place {
            container_path: "/var/lib/cassandra/data".to_owned(),
            host_path: mount.join(below),
            mount: mount.to_owned(),
            below: Some(RelativePath::parse(below).unwrap()),
            is_in_own_layer: false,
        }
    }

    #[test]
    fn a_symlink_that_the_containers_user_plants_is_not_followed() {
        let (mount, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(mount.path().join("cassandra")).unwrap();
        symlink(elsewhere.path(), mount.path().join("data")).unwrap();
        symlink(elsewhere.path(), mount.path().join("cassandra/up")).unwrap();

        assert!(place(mount.path(), "data").open().is_err());
        assert!(place(mount.path(), "cassandra/up/data").open().is_err());
        assert!(place(mount.path(), "cassandra/up/data").open_parent().is_err());
        let (parent, name) = place(mount.path(), "cassandra/data").open_parent().unwrap();
        assert_eq!((parent.path(), name.as_str()), (mount.path().join("cassandra").as_path(), "data"));
    }

    #[test]
    fn what_the_container_sees_elsewhere_is_not_taken_for_the_hosts() {
        let (mount, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let here = mount.path().canonicalize().unwrap();
        std::fs::create_dir(here.join("data")).unwrap();
        let own = i64::from(std::process::id());

        let place = place(&here, "data");
        assert_eq!(place.prove(own, here.join("data").to_str().unwrap()), Ok(()));
        let other = elsewhere.path().canonicalize().unwrap();
        assert_eq!(
            place.prove(own, other.to_str().unwrap()),
            Err(format!(
                "`{}` on this host is another directory than the container sees",
                here.join("data").display()
            ))
        );
    }
}
