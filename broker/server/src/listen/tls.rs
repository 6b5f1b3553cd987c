//! The certificate of the client port: from files, or made by itself at start and kept in memory only.
//!
//! A self-made certificate encrypts and proves nothing; the clients whose default is TLS do not ask for more.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

const ALPN_HTTP2: &[u8] = b"h2";

/// Where the certificate comes from.
#[derive(Debug, Clone)]
pub enum TlsSource {
    /// Made at start for `localhost` and these names.
    SelfMade { names: Vec<String> },
    /// PEM files: the certificate chain and its private key.
    Files { certificate: PathBuf, key: PathBuf },
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}: {error}", path = path.display())]
    Missing { path: PathBuf, error: io::Error },
    #[error("cannot read {what} from {path}: {error}", path = path.display())]
    Unreadable { what: &'static str, path: PathBuf, error: rustls_pki_types::pem::Error },
    #[error("{path} holds no certificate", path = path.display())]
    NoCertificate { path: PathBuf },
    #[error("cannot make a certificate: {0}")]
    Making(#[from] rcgen::Error),
    #[error("certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What the two files held at one moment. Not printed: a private key is among it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pem {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl TlsSource {
    /// The files' content; `None` for what is self-made.
    pub(super) fn read(&self) -> Result<Option<Pem>, TlsError> {
        let Self::Files { certificate, key } = self else { return Ok(None) };
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| TlsError::Missing { path: path.to_owned(), error })
        };
        Ok(Some(Pem { chain: read(certificate)?, key: read(key)? }))
    }

    /// With what [`Self::read`] gave.
    pub(super) fn server_config(&self, pem: Option<&Pem>) -> Result<Arc<ServerConfig>, TlsError> {
        let (chain, key) = match (self, pem) {
            (Self::Files { certificate, key }, Some(pem)) => {
                (chain_in(&pem.chain, certificate)?, key_in(&pem.key, key)?)
            }
            (Self::SelfMade { names }, _) => self_made(names)?,
            (Self::Files { certificate, .. }, None) => {
                return Err(TlsError::NoCertificate { path: certificate.clone() });
            }
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        Ok(Arc::new(config))
    }
}

fn self_made(names: &[String]) -> Result<Identity, TlsError> {
    let names: Vec<String> = std::iter::once("localhost".to_owned()).chain(names.iter().cloned()).collect();
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], key.into()))
}

fn chain_in(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable =
        |error| TlsError::Unreadable { what: "the certificate chain", path: path.to_owned(), error };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(unreadable)?;
    if chain.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned() }) } else { Ok(chain) }
}

fn key_in(pem: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| TlsError::Unreadable {
        what: "the private key",
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(source: &TlsSource) -> Result<Arc<ServerConfig>, TlsError> {
        source.server_config(source.read()?.as_ref())
    }

    #[test]
    fn a_self_made_certificate_offers_http2() {
        let config = config(&TlsSource::SelfMade { names: vec!["10.0.0.1".to_owned()] }).unwrap();
        assert_eq!(config.alpn_protocols, vec![b"h2".to_vec()]);
    }

    #[test]
    fn files_are_read_and_errors_name_them() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("tls.crt");
        let key = folder.path().join("tls.key");
        let source = TlsSource::Files { certificate: certificate.clone(), key: key.clone() };
        assert!(config(&source).unwrap_err().to_string().contains("tls.crt"));

        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        assert!(config(&source).unwrap_err().to_string().contains("tls.key"));
        std::fs::write(&key, "no key").unwrap();
        assert!(config(&source).unwrap_err().to_string().contains("tls.key"));
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        assert!(config(&source).is_ok());

        let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
        assert!(matches!(config(&source), Err(TlsError::Unusable(_))), "the key of another certificate");
        std::fs::write(&certificate, "").unwrap();
        assert!(matches!(config(&source), Err(TlsError::NoCertificate { .. })));
    }
}
