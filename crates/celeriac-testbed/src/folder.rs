//! Temporary folders that a server running as another user can use.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

/// Servers that refuse to run as root run as this user: `nobody`, group `nogroup`, on every Debian.
const NOBODY: u32 = 65_534;

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|of_us| std::os::unix::fs::MetadataExt::uid(&of_us) == 0)
}

/// Gives a folder to the user whom the server will run as.
pub(crate) fn hand_over(folder: &Path) {
    give(folder, 0o700);
}

/// The same with a file that nobody else may read.
pub(crate) fn hand_over_file(file: &Path) {
    give(file, 0o600);
}

fn give(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the rights of something temporary");
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("something temporary for another user");
    }
}

/// The words in front of a command that make it run as that user; none when this process is not root.
pub(crate) fn as_nobody() -> Vec<&'static str> {
    if is_root() { vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] } else { Vec::new() }
}
