//! A small disk of a test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Gone with this value.
pub struct Mounted(PathBuf);

impl Mounted {
    /// `None` where this user may not mount; root whose mount fails otherwise has a broken machine, not a green test.
    pub fn at(path: &Path, size: &str) -> Option<Mounted> {
        let options = format!("size={size},mode=0777");
        let mut mount = Command::new("mount");
        mount.env("LC_ALL", "C").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path);
        let why = match mount.output() {
            Ok(done) if done.status.success() => return Some(Mounted(path.to_owned())),
            Ok(done) => String::from_utf8_lossy(&done.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        // `mount`'s words for EPERM: root of a container that may not.
        let is_forbidden = why.contains("permission denied") || why.contains("Operation not permitted");
        assert!(
            is_forbidden || !rustix::process::geteuid().is_root(),
            "root cannot mount a tmpfs at `{}`, and not for want of permission: {why}",
            path.display()
        );
        None
    }
}

impl Mounted {
    /// From now on nothing can be written to it, not even by root.
    pub fn make_read_only(&self) {
        let done = Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status().unwrap();
        assert!(done.success(), "`{}` cannot be made read-only", self.0.display());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}
