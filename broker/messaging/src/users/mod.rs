//! Users: who may do what. Kept with topics and consumer groups: changed in the metadata group's log, followed by the
//! others.
//!
//! - [`grants`]: what a user may do, and with what.
//! - `form`: users in records and snapshots. `changes`: how commands change them.
//!
//! A secret leaves this module through [`UserSecret::expose`] only; nothing that is printed shows it.

mod changes;
mod form;
mod grants;

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use grants::{Action, Actions, Grant, GrantError, MAX_GRANTS, Pattern, Resource, Rights};

pub(crate) use form::{decode_change, decode_create, encode_change, encode_create, length, put_user, user};

use crate::metadata::Revision;

/// Characters of a user's name.
pub const MAX_USER_LEN: usize = 64;
/// Characters of a secret at least: shorter ones can be guessed from a signature that was overheard.
pub const MIN_SECRET_LEN: usize = 8;
/// Characters of a secret at most.
pub const MAX_SECRET_LEN: usize = 256;

/// A user that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The access key that clients send.
    pub name: UserName,
    pub secret: UserSecret,
    pub rights: Rights,
    /// Of its creation or its last change.
    pub revision: Revision,
}

/// Name of a user, its access key. Cloning one is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(Arc<str>);

/// Why a text is no name of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user's name has 1 to {MAX_USER_LEN} characters of a-z A-Z 0-9 . _ @ -")]
pub struct UserNameError;

impl UserName {
    /// # Errors
    /// When the text breaks the limits of such a name.
    pub fn new(name: &str) -> Result<Self, UserNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
        if name.is_empty() || name.len() > MAX_USER_LEN || !name.bytes().all(allowed) {
            return Err(UserNameError);
        }
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(name: &str) -> Result<Self, UserNameError> {
        Self::new(name)
    }
}

impl Borrow<str> for UserName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What a user signs calls with. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct UserSecret(Arc<str>);

/// Why a text is no secret. Does not repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret has {MIN_SECRET_LEN} to {MAX_SECRET_LEN} printable ASCII characters without spaces")]
pub struct UserSecretError;

impl UserSecret {
    /// # Errors
    /// When the text breaks the limits of a secret.
    pub fn new(text: &str) -> Result<Self, UserSecretError> {
        let fits = (MIN_SECRET_LEN..=MAX_SECRET_LEN).contains(&text.len());
        if !fits || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UserSecretError);
        }
        Ok(Self(text.into()))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserSecret {
    type Err = UserSecretError;

    fn from_str(text: &str) -> Result<Self, UserSecretError> {
        Self::new(text)
    }
}

impl fmt::Debug for UserSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserSecret(..)")
    }
}

/// Creates a user; creating an equal one again is fine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateUser {
    pub name: UserName,
    pub secret: UserSecret,
    pub rights: Rights,
}

/// Gives a user another secret, other rights, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeUser {
    pub name: UserName,
    /// `None` keeps it.
    pub secret: Option<UserSecret>,
    /// `None` keeps them.
    pub rights: Option<Rights>,
}

/// Deletes a user. Its calls are refused from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteUser {
    pub name: UserName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_limits() {
        for good in ["a", "LTAI5t.x_y@z-1", &"u".repeat(64)] {
            assert_eq!(UserName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a/b", "a b", "a,b", "a=b", "größe", "*", &"u".repeat(65)] {
            assert_eq!(UserName::new(bad), Err(UserNameError), "{bad}");
        }
    }

    #[test]
    fn secrets_have_limits_and_are_not_printed() {
        for bad in ["", "seven77", "with space", "tab\tulator", "ümlaut-ümlaut", &"s".repeat(257)] {
            assert_eq!(UserSecret::new(bad), Err(UserSecretError), "{bad}");
        }
        let secret = UserSecret::new("s3cret-s3cret").unwrap();
        assert_eq!(secret.expose(), "s3cret-s3cret");
        let user = User {
            name: UserName::new("u").unwrap(),
            secret: secret.clone(),
            rights: Rights::Admin,
            revision: Revision(1),
        };
        let change = ChangeUser { name: user.name.clone(), secret: Some(secret.clone()), rights: None };
        let create = CreateUser { name: user.name.clone(), secret: secret.clone(), rights: Rights::Admin };
        for printed in
            [format!("{secret:?}"), format!("{user:?}"), format!("{change:?}"), format!("{create:?}")]
        {
            assert!(!printed.contains("s3cret"), "{printed}");
        }
    }
}
