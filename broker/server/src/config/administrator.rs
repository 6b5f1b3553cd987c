//! The administrator that comes from the configuration: the newest usable content of its files, which may be replaced at
//! any time.
//!
//! Content that cannot be used is reported and the administrator before it stays: nobody is locked out, or let in, by a
//! file in the making. Where both files are somebody else's work, a broker also starts without them, and without an
//! administrator: a slip in a Secret must not keep a broker that restarts from serving. The secret is never printed.
//!
//! A name is never taken together with a secret of another time where both are replaced at once, as Kubernetes does by
//! pointing a link elsewhere. Files that are written one after the other are taken as they are found.

use std::fmt;
use std::io;
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) name: NameFrom,
    pub(super) secret: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
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

/// How often files that are replaced while they are read are begun with again.
const ATTEMPTS: usize = 5;

impl Files {
    fn read(&self) -> Result<Administrator, ConfigError> {
        self.read_with(|path| std::fs::read_to_string(path))
    }

    /// Reads both files as they were at one moment, if they are replaced at once.
    fn read_with(
        &self,
        mut read: impl FnMut(&Path) -> io::Result<String>,
    ) -> Result<Administrator, ConfigError> {
        let mut files = self.resolved();
        for _ in 0..ATTEMPTS {
            let outcome = files.content(&mut read);
            let now = self.resolved();
            if now == files {
                return outcome;
            }
            files = now;
        }
        let problem = format!("{} is replaced faster than it can be read", self.secret.display());
        Err(ConfigError::invalid("auth.admin_secret_file", problem))
    }

    /// Where they really lie, which is elsewhere after they were replaced at once.
    fn resolved(&self) -> Self {
        // What leads nowhere is read as it is called, which tells the problem.
        let real = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
        let name = match &self.name {
            NameFrom::Config(name) => NameFrom::Config(name.clone()),
            NameFrom::File(path) => NameFrom::File(real(path)),
        };
        Self { name, secret: real(&self.secret) }
    }

    fn content(
        &self,
        read: &mut impl FnMut(&Path) -> io::Result<String>,
    ) -> Result<Administrator, ConfigError> {
        let secret = line("admin_secret_file", &self.secret, read, UserSecret::new)?;
        let name = match &self.name {
            NameFrom::Config(name) => name.clone(),
            NameFrom::File(path) => line("admin_file", path, read, UserName::new)?,
        };
        Ok(Administrator { name, secret })
    }
}

/// The one line that a file holds.
fn line<T, E: fmt::Display>(
    key: &str,
    path: &Path,
    read: &mut impl FnMut(&Path) -> io::Result<String>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, ConfigError> {
    let invalid = |problem: String| ConfigError::invalid(format!("auth.{key}"), problem);
    let text = read(path).map_err(|error| invalid(format!("cannot read {}: {error}", path.display())))?;
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

    /// A folder like the one that Kubernetes mounts a Secret in: links to `..data`, which is a link to what is in force.
    struct Mount {
        folder: tempfile::TempDir,
        version: usize,
    }

    impl Mount {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["username", "password"] {
                std::os::unix::fs::symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
            }
            let mut mount = Self { folder, version: 0 };
            mount.replace();
            mount
        }

        /// As Kubernetes does it: by one rename of the link, after which what was in force before is deleted.
        fn replace(&mut self) {
            let place = |name: &str| self.folder.path().join(name);
            let old = format!("..{}", self.version);
            self.version += 1;
            let new = format!("..{}", self.version);
            std::fs::create_dir(place(&new)).unwrap();
            write(&place(&new), &format!("root-{}", self.version), &format!("secret-{}", self.version));
            std::os::unix::fs::symlink(&new, place("..data_tmp")).unwrap();
            std::fs::rename(place("..data_tmp"), place("..data")).unwrap();
            if place(&old).exists() {
                std::fs::remove_dir_all(place(&old)).unwrap();
            }
        }

        fn files(&self) -> Files {
            let place = |name: &str| self.folder.path().join(name);
            Files { name: NameFrom::File(place("username")), secret: place("password") }
        }
    }

    #[test]
    fn a_link_that_points_elsewhere_is_noticed() {
        let mut mount = Mount::new();
        let administrator = CurrentAdministrator::load(mount.files()).unwrap();
        assert!(is(&administrator, "root-1", "secret-1"));
        mount.replace();
        administrator.look(Seen::Usable);
        assert!(is(&administrator, "root-2", "secret-2"));
    }

    #[test]
    fn a_name_is_never_taken_with_a_secret_of_another_time() {
        // Replaced before the first file is read, between the two, and at each of the first three.
        for (replaced, newest) in [(&[0][..], 2), (&[1], 2), (&[0, 1, 2], 4)] {
            let mut mount = Mount::new();
            let files = mount.files();
            let mut reads = 0;
            let outcome = files.read_with(|path| {
                if replaced.contains(&reads) {
                    mount.replace();
                }
                reads += 1;
                std::fs::read_to_string(path)
            });
            let taken = outcome.unwrap();
            let names = (taken.name.as_str().to_owned(), taken.secret.expose().to_owned());
            assert_eq!(names, (format!("root-{newest}"), format!("secret-{newest}")), "{replaced:?}");
        }
        // A look ends, whatever is done to the files.
        let mut mount = Mount::new();
        let files = mount.files();
        let outcome = files.read_with(|path| {
            let text = std::fs::read_to_string(path);
            mount.replace();
            text
        });
        let problem = outcome.unwrap_err().to_string();
        assert!(problem.contains("replaced faster"), "{problem}");
    }

    /// By a link to the folder itself, and from folders of their own.
    #[test]
    fn files_may_lie_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for (name, secret) in [("one", "first-secret"), ("two", "second-secret")] {
            std::fs::create_dir(place(name)).unwrap();
            write(&place(name), name, secret);
        }
        std::os::unix::fs::symlink(place("one"), place("data")).unwrap();
        let administrator = load(&place("data"));
        std::os::unix::fs::symlink(place("two"), place("next")).unwrap();
        std::fs::rename(place("next"), place("data")).unwrap();
        administrator.look(Seen::Usable);
        assert!(is(&administrator, "two", "second-secret"));
        let name = NameFrom::File(place("one").join("username"));
        let apart = CurrentAdministrator::load(Files { name, secret: place("two").join("password") });
        assert!(is(&apart.unwrap(), "one", "second-secret"));
    }
}
