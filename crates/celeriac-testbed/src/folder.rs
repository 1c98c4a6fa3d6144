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
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("the rights of a temporary folder");
    if is_root() {
        chown(folder, Some(NOBODY), Some(NOBODY)).expect("a temporary folder for another user");
    }
}

/// The words in front of a command that make it run as that user; none when this process is not root.
pub(crate) fn as_nobody() -> Vec<&'static str> {
    if is_root() { vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] } else { Vec::new() }
}
