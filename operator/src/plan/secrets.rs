//! Secrets that brokers are given: which, and what must be in them. What is wrong with one is found before any broker is
//! touched. Nothing that a Secret holds ever gets into a message.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use rustls::{crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{FieldError, Plan};
use crate::names;

/// Keys of a Secret of type kubernetes.io/basic-auth.
pub const USERNAME: &str = "username";
pub const PASSWORD: &str = "password";
/// Keys of a Secret of type kubernetes.io/tls.
pub const CERTIFICATE: &str = "tls.crt";
pub const KEY: &str = "tls.key";
/// Name of the user in a Secret that the operator makes.
pub const MADE_USERNAME: &str = "admin";

const LONGEST_NAME: usize = 64;
const SECRET_LENGTH: std::ops::RangeInclusive<usize> = 8..=256;

/// What a Secret holds.
pub type Data = BTreeMap<String, ByteString>;

/// The Secret with the administrator's credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdministratorSecret {
    /// People made it.
    Named(String),
    /// The operator makes it when it is not there.
    Made(String),
}

impl AdministratorSecret {
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) | Self::Made(name) => name,
        }
    }

    /// The field that decides on it.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Named(_) => "spec.auth.administrator.secretName",
            Self::Made(_) => "spec.auth.administrator",
        }
    }
}

/// What is to be found in a Secret, and which field says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Administrator,
    Certificate,
}

impl Plan {
    /// `None` while clients need no credentials.
    pub fn administrator_secret(&self) -> Option<AdministratorSecret> {
        let auth = &self.spec.auth;
        auth.enabled.then(|| match &auth.administrator.secret_name {
            Some(name) => AdministratorSecret::Named(name.clone()),
            None => AdministratorSecret::Made(names::administrator(&self.identity.name)),
        })
    }
}

/// Checks what the Secret `name`, which `field` is about, holds.
///
/// # Errors
/// What a broker could not use.
pub fn check(purpose: Purpose, field: &str, name: &str, data: &Data) -> Result<(), FieldError> {
    let outcome = match purpose {
        Purpose::Administrator => administrator(data),
        Purpose::Certificate => certificate(data),
    };
    outcome.map_err(|problem| FieldError::new(field, format!("Secret {name}: {problem}")))
}

/// That a Secret is not there.
pub fn missing(field: &str, name: &str) -> FieldError {
    FieldError::new(field, format!("Secret {name} does not exist in this namespace"))
}

fn entry<'a>(data: &'a Data, key: &str) -> Result<&'a [u8], String> {
    let value = data.get(key).map(|value| value.0.as_slice()).filter(|value| !value.is_empty());
    value.ok_or_else(|| format!("has no key {key}"))
}

fn line<'a>(data: &'a Data, key: &str) -> Result<&'a str, String> {
    let text = std::str::from_utf8(entry(data, key)?).map_err(|_| format!("{key} is no text"))?;
    Ok(text.trim())
}

/// The same rules as the broker's: what is taken here does not keep one from starting.
fn administrator(data: &Data) -> Result<(), String> {
    let name = line(data, USERNAME)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(allowed) {
        return Err(format!("{USERNAME} must be 1 to {LONGEST_NAME} letters, digits or any of . _ @ -"));
    }
    let secret = line(data, PASSWORD)?;
    if !SECRET_LENGTH.contains(&secret.len()) || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        let (least, most) = (SECRET_LENGTH.start(), SECRET_LENGTH.end());
        return Err(format!(
            "{PASSWORD} must be {least} to {most} printable ASCII characters without spaces"
        ));
    }
    Ok(())
}

fn certificate(data: &Data) -> Result<(), String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(entry(data, CERTIFICATE)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{CERTIFICATE} is not PEM: {error}"))?;
    if chain.is_empty() {
        return Err(format!("{CERTIFICATE} holds no certificate"));
    }
    let key: PrivateKeyDer<'static> = PrivateKeyDer::from_pem_slice(entry(data, KEY)?)
        .map_err(|_| format!("{KEY} holds no private key in PEM"))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map(drop)
        .map_err(|error| format!("{CERTIFICATE} and {KEY} cannot be used together: {error}"))
}

#[cfg(test)]
mod tests {
    use mainstay_messaging::{UserName, UserSecret};
    use proptest::prelude::*;

    use super::*;

    fn data(entries: &[(&str, &str)]) -> Data {
        entries.iter().map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec()))).collect()
    }

    fn problem(purpose: Purpose, entries: &[(&str, &str)]) -> String {
        let outcome = check(purpose, "spec.x", "s", &data(entries));
        outcome.err().map(|error| error.to_string()).unwrap_or_default()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        /// Neither is a broker given what it refuses, nor are people refused what it takes.
        #[test]
        fn credentials_are_taken_that_a_broker_takes(
            name in "[a-zA-Z0-9._@ é-]{0,3}|[a-z]{63,66}", secret in "[ -~é]{6,10}|[!-~]{255,258}"
        ) {
            let entries = [(USERNAME, name.as_str()), (PASSWORD, secret.as_str())];
            let taken = problem(Purpose::Administrator, &entries).is_empty();
            let fine = UserName::new(name.trim()).is_ok() && UserSecret::new(secret.trim()).is_ok();
            prop_assert_eq!(taken, fine);
        }
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_is_quoted() {
        let administrator = |entries: &[(&str, &str)]| problem(Purpose::Administrator, entries);
        assert_eq!(administrator(&[(PASSWORD, "long-enough")]), "spec.x: Secret s: has no key username");
        assert_eq!(
            administrator(&[(USERNAME, "root"), (PASSWORD, "")]),
            "spec.x: Secret s: has no key password"
        );
        for entries in [[(USERNAME, "root"), (PASSWORD, "hushed")], [(USERNAME, "hushed!"), (PASSWORD, "x")]]
        {
            let problem = administrator(&entries);
            assert!(problem.contains("must be") && !problem.contains("hushed"), "{problem}");
        }
        assert_eq!(administrator(&[(USERNAME, "root\n"), (PASSWORD, "long-enough\n")]), "");
    }

    #[test]
    fn a_certificate_and_its_own_key_are_needed() {
        let make = || rcgen::generate_simple_self_signed(vec!["orders".to_owned()]).expect("can be made");
        let (one, two) = (make(), make());
        let (chain, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        let other = two.signing_key.serialize_pem();
        let certificate = |entries: &[(&str, &str)]| problem(Purpose::Certificate, entries);
        assert_eq!(certificate(&[(CERTIFICATE, &chain), (KEY, &key)]), "");
        assert!(certificate(&[(CERTIFICATE, &chain)]).contains("has no key tls.key"));
        assert!(certificate(&[(CERTIFICATE, &chain), (KEY, &other)]).contains("cannot be used together"));
        assert!(certificate(&[(CERTIFICATE, "text"), (KEY, &key)]).contains("holds no certificate"));
        assert!(certificate(&[(CERTIFICATE, &chain), (KEY, "text")]).contains("holds no private key"));
    }
}
