//! The certificate that new connections get: the newest usable one of its files, which may be replaced at any time.
//!
//! A pair that cannot be used is reported and the one before it stays. Connections that are open keep what they have.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::tls::{Pem, TlsError, TlsSource};
use crate::followed_files::follow;

pub(super) struct Certificate {
    source: TlsSource,
    config: ArcSwap<ServerConfig>,
    /// What `config` was made of.
    first: Option<Pem>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("source", &self.source).finish_non_exhaustive()
    }
}

/// What became of the last look at the files.
enum Seen {
    /// The content in use.
    InUse(Option<Pem>),
    /// Content that cannot be used, seen once: perhaps only one of the files has been replaced so far.
    Odd(Result<Option<Pem>, ()>),
    /// The same, seen again and reported.
    Reported(Result<Option<Pem>, ()>),
}

impl Certificate {
    pub(super) fn load(source: &TlsSource) -> Result<Self, TlsError> {
        let first = source.read()?;
        let config = ArcSwap::from(source.server_config(first.as_ref())?);
        Ok(Self { source: source.clone(), config, first })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Follows the files until `stop`.
    pub(super) async fn keep_up(self: Arc<Self>, stop: CancellationToken) {
        if self.first.is_none() {
            return;
        }
        let seen = Seen::InUse(self.first.clone());
        follow("certificate", seen, move |seen| self.look(seen), stop).await;
    }

    fn look(&self, seen: Seen) -> Seen {
        let read = self.source.read();
        let content = read.as_ref().map(Clone::clone).map_err(|_| ());
        match &seen {
            Seen::InUse(pem) if content.as_ref() == Ok(pem) => return seen,
            Seen::Reported(same) if *same == content => return seen,
            _ => {}
        }
        match read.and_then(|pem| self.source.server_config(pem.as_ref()).map(|config| (pem, config))) {
            Ok((pem, config)) => {
                self.config.store(config);
                info!(source = ?self.source, "new connections get the new certificate");
                Seen::InUse(pem)
            }
            Err(error) => match seen {
                Seen::Odd(same) if same == content => {
                    error!(%error, "the new certificate cannot be used; the old one stays");
                    Seen::Reported(content)
                }
                _ => Seen::Odd(content),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn pair(folder: &Path) -> TlsSource {
        TlsSource::Files { certificate: folder.join("tls.crt"), key: folder.join("tls.key") }
    }

    fn write(folder: &Path) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn a_pair_in_the_making_is_waited_for_and_a_broken_one_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let certificate = Certificate::load(&pair(folder.path())).unwrap();
        let (first, start) = (certificate.config.load_full(), Seen::InUse(certificate.first.clone()));
        let same = certificate.look(start);
        assert!(matches!(same, Seen::InUse(_)) && Arc::ptr_eq(&first, &certificate.config.load()));

        std::fs::write(folder.path().join("tls.key"), "half").unwrap();
        let odd = certificate.look(same);
        assert!(matches!(odd, Seen::Odd(Ok(_))));
        let reported = certificate.look(odd);
        assert!(matches!(reported, Seen::Reported(Ok(_))));
        std::fs::remove_file(folder.path().join("tls.key")).unwrap();
        let odd = certificate.look(certificate.look(reported));
        assert!(matches!(odd, Seen::Reported(Err(()))));
        assert!(Arc::ptr_eq(&first, &certificate.config.load()), "the old one stays");

        write(folder.path());
        let new = certificate.look(odd);
        assert!(matches!(new, Seen::InUse(_)) && !Arc::ptr_eq(&first, &certificate.config.load()));
    }

    /// As Kubernetes replaces the files of a secret: by one rename of a symbolic link.
    #[test]
    fn a_link_that_points_elsewhere_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two, link) =
            (folder.path().join("one"), folder.path().join("two"), folder.path().join("data"));
        for place in [&one, &two] {
            std::fs::create_dir(place).unwrap();
            write(place);
        }
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let certificate = Certificate::load(&pair(&link)).unwrap();
        let first = certificate.config.load_full();
        std::os::unix::fs::symlink(&two, folder.path().join("next")).unwrap();
        std::fs::rename(folder.path().join("next"), &link).unwrap();
        certificate.look(Seen::InUse(certificate.first.clone()));
        assert!(!Arc::ptr_eq(&first, &certificate.config.load()));
    }
}
