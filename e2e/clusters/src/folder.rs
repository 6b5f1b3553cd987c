//! Where what demo and tests leave behind lies: clusters, images, histories.
//!
//! `.run` of the repository where that can be used. Test clients run as another user, and sockets limit the length of
//! paths, so that a checkout in somebody's home or deep in a tree gets a folder of its own elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The longest path whose `local/…` sockets still have room for their names.
const LONGEST: usize = 50;

/// The folder of this repository's runs. It may not exist yet.
pub fn work_folder() -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let repository = repository.canonicalize().unwrap_or(repository);
    choose(&repository)
}

fn choose(repository: &Path) -> PathBuf {
    let inside = repository.join(".run");
    if inside.as_os_str().len() <= LONGEST && plain(&inside) && open_to_all(repository) {
        return inside;
    }
    let hash = Sha256::digest(repository.as_os_str().as_encoded_bytes());
    PathBuf::from(format!("/var/tmp/mainstay-{}", &crate::image::hex(&hash)[..12]))
}

/// Names that need no quoting anywhere.
fn plain(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)))
}

/// Whether any user may walk through the folder and everything above it.
fn open_to_all(folder: &Path) -> bool {
    folder
        .ancestors()
        .all(|ancestor| fs::metadata(ancestor).is_ok_and(|folder| folder.permissions().mode() & 0o001 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_or_deep_repository_gets_a_folder_elsewhere() {
        let closed = tempfile::tempdir().unwrap();
        fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(choose(closed.path()).starts_with("/var/tmp"));
        assert!(choose(Path::new(&format!("/{}", "x".repeat(60)))).starts_with("/var/tmp"));
        assert_ne!(choose(closed.path()), choose(&closed.path().join("other")));
        assert_eq!(choose(Path::new("/usr")), Path::new("/usr/.run"));
    }
}
