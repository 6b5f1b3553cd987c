//! The administrator that comes from the configuration: the newest usable content of its files, which may be replaced at
//! any time.
//!
//! Content that cannot be used is reported and the administrator before it stays: nobody is locked out, or let in, by a
//! file in the making. Where both files are somebody else's work, a broker also starts without them, and without an
//! administrator: a slip in a Secret must not keep a broker that restarts from serving. The secret is never printed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use mainstay_messaging::{UserName, UserSecret};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::check::ConfigError;
use crate::followed_files::follow;

/// A user that may do everything and is not kept in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Administrator {
    pub name: UserName,
    pub secret: UserSecret,
}

/// Where an administrator comes from.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) name: NameFrom,
    pub(super) secret: PathBuf,
}

#[derive(Debug, Clone)]
pub(super) enum NameFrom {
    Config(UserName),
    File(PathBuf),
}

/// The administrator as it is by now; nobody before the files could be used. Clones share it.
#[derive(Clone)]
pub struct CurrentAdministrator {
    now: Arc<ArcSwapOption<Administrator>>,
    files: Option<Files>,
}

impl fmt::Debug for CurrentAdministrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentAdministrator").field("now", &self.now()).field("files", &self.files).finish()
    }
}

/// One that never changes.
impl From<Administrator> for CurrentAdministrator {
    fn from(administrator: Administrator) -> Self {
        Self { now: Arc::new(ArcSwapOption::from_pointee(administrator)), files: None }
    }
}

/// What became of the last look at the files.
#[derive(Debug, Default, PartialEq, Eq)]
enum Seen {
    #[default]
    Usable,
    /// A problem that was seen once: perhaps only one of the files has been replaced so far.
    Odd(String),
    /// The same, seen again and reported.
    Reported(String),
}

impl CurrentAdministrator {
    pub(super) fn load(files: Files) -> Result<Self, ConfigError> {
        let first = match (files.read(), &files.name) {
            (Ok(first), _) => Some(first),
            (Err(_), NameFrom::File(_)) => None,
            (Err(error), NameFrom::Config(_)) => return Err(error),
        };
        Ok(Self { now: Arc::new(ArcSwapOption::from_pointee(first)), files: Some(files) })
    }

    pub fn now(&self) -> Option<Arc<Administrator>> {
        self.now.load_full()
    }

    /// Follows the files until `stop`.
    pub(crate) async fn keep_up(self, stop: CancellationToken) {
        if self.files.is_none() {
            return;
        }
        follow("administrator", Seen::Usable, move |seen| self.look(seen), stop).await;
    }

    fn look(&self, seen: Seen) -> Seen {
        let Some(files) = &self.files else { return seen };
        let problem = match files.read() {
            Ok(administrator) => {
                if self.now().as_deref() != Some(&administrator) {
                    info!(user = administrator.name.as_str(), "the administrator has new credentials");
                    self.now.store(Some(Arc::new(administrator)));
                }
                return Seen::Usable;
            }
            Err(error) => error.to_string(),
        };
        match seen {
            Seen::Reported(same) if same == problem => Seen::Reported(same),
            Seen::Odd(same) if same == problem => {
                match self.now() {
                    Some(_) => error!(
                        problem,
                        "the administrator's new credentials cannot be used; the old ones stay"
                    ),
                    None => error!(problem, "there is no administrator until the credentials can be used"),
                }
                Seen::Reported(same)
            }
            _ => Seen::Odd(problem),
        }
    }
}

impl Files {
    fn read(&self) -> Result<Administrator, ConfigError> {
        let secret = line("admin_secret_file", &self.secret, UserSecret::new)?;
        let name = match &self.name {
            NameFrom::Config(name) => name.clone(),
            NameFrom::File(path) => line("admin_file", path, UserName::new)?,
        };
        Ok(Administrator { name, secret })
    }
}

/// The one line that a file holds.
fn line<T, E: fmt::Display>(
    key: &str,
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, ConfigError> {
    let invalid = |problem: String| ConfigError::invalid(format!("auth.{key}"), problem);
    let text = std::fs::read_to_string(path)
        .map_err(|error| invalid(format!("cannot read {}: {error}", path.display())))?;
    parse(text.trim()).map_err(|error| invalid(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, secret: &str) {
        std::fs::write(folder.join("username"), name).unwrap();
        std::fs::write(folder.join("password"), secret).unwrap();
    }

    fn load(folder: &Path) -> CurrentAdministrator {
        let name = NameFrom::File(folder.join("username"));
        CurrentAdministrator::load(Files { name, secret: folder.join("password") }).unwrap()
    }

    fn is(administrator: &CurrentAdministrator, name: &str, secret: &str) -> bool {
        let Some(now) = administrator.now() else { return false };
        now.name.as_str() == name && now.secret.expose() == secret
    }

    #[test]
    fn replaced_files_are_taken_and_broken_ones_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "root\n", "first-secret\n");
        let administrator = load(folder.path());
        let clone = administrator.clone();
        assert!(is(&administrator, "root", "first-secret"));
        assert_eq!(administrator.look(Seen::Usable), Seen::Usable);

        write(folder.path(), "root", "short");
        let odd = administrator.look(Seen::Usable);
        assert!(matches!(&odd, Seen::Odd(problem) if problem.contains("auth.admin_secret_file")), "{odd:?}");
        let reported = administrator.look(odd);
        assert!(matches!(&reported, Seen::Reported(problem) if !problem.contains("short")), "{reported:?}");
        assert!(matches!(administrator.look(reported), Seen::Reported(_)));
        std::fs::remove_file(folder.path().join("username")).unwrap();
        assert!(matches!(administrator.look(Seen::Usable), Seen::Odd(_)));
        assert!(is(&clone, "root", "first-secret"), "the old one stays");

        write(folder.path(), "other", "second-secret");
        assert_eq!(administrator.look(Seen::Usable), Seen::Usable);
        assert!(is(&clone, "other", "second-secret"));
        assert!(!format!("{administrator:?}").contains("second-secret"));
    }

    #[test]
    fn without_usable_files_there_is_nobody_until_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let administrator = load(folder.path());
        assert_eq!(administrator.now(), None);
        let odd = administrator.look(Seen::Usable);
        assert!(matches!(administrator.look(odd), Seen::Reported(_)));
        write(folder.path(), "root", "first-secret");
        assert_eq!(administrator.look(Seen::Usable), Seen::Usable);
        assert!(is(&administrator, "root", "first-secret"));
        let named = NameFrom::Config(UserName::new("root").unwrap());
        let missing = Files { name: named, secret: folder.path().join("none") };
        assert!(CurrentAdministrator::load(missing).is_err(), "who writes the configuration is told");
    }

    /// As Kubernetes replaces the files of a secret: by one rename of a symbolic link.
    #[test]
    fn a_link_that_points_elsewhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for (name, secret) in [("one", "first-secret"), ("two", "second-secret")] {
            std::fs::create_dir(place(name)).unwrap();
            write(&place(name), "root", secret);
        }
        std::os::unix::fs::symlink(place("one"), place("data")).unwrap();
        let administrator = load(&place("data"));
        std::os::unix::fs::symlink(place("two"), place("next")).unwrap();
        std::fs::rename(place("next"), place("data")).unwrap();
        administrator.look(Seen::Usable);
        assert!(is(&administrator, "root", "second-secret"));
    }
}
