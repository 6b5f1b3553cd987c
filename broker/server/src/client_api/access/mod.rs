//! Who calls and whether that is allowed: signatures, dates and rights of calls on the client port.
//!
//! - [`needs`]: what each request needs. `moments`, `dates`, `replays`: which signed dates are believed.
//!
//! Every refusal is `UNAUTHORIZED` with a sentence. Whether an access key exists is not told.

mod dates;
mod moments;
mod needs;
mod replays;

use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use mainstay_messaging::{Action, Metadata, Resource, Rights, UserName, UserSecret};
use mainstay_proto::rocketmq::Code;
use mainstay_proto::signature::{AUTHORIZATION_HEADER, DATE_HEADER, Proof, Shown};
use tonic::metadata::MetadataMap;

use self::moments::Moments;
pub(super) use self::needs::Guarded;
use self::needs::Permits;
use super::names::full_name;
use super::refusal::{Checked, Refusal};
use crate::config::{Administrator, Auth, CurrentAdministrator};
use crate::group::GroupHandle;

/// For access keys that nobody has, so that they take as long to refuse as the others.
static NOBODY: LazyLock<UserSecret> = LazyLock::new(|| {
    let text: String = (0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
    UserSecret::new(&text).unwrap_or_else(|error| unreachable!("{error}"))
});

/// The date that a client wrote, judged against a clock, in seconds since 1970.
#[cfg(feature = "fuzzing")]
pub(super) fn seconds_of(text: &str) -> Option<i64> {
    use self::dates::Written;
    let written = Written::parse(text)?;
    let (Written::Compact(seconds) | Written::Exact(seconds)) = written;
    for now in [0, 1_703_706_379, i64::MAX] {
        let _ = written.zone(now, std::time::Duration::from_secs(300), crate::config::ClientDates::AnyZone);
    }
    Some(seconds)
}

/// Checks calls.
#[derive(Debug)]
pub(crate) struct Access {
    admin: Option<CurrentAdministrator>,
    group: GroupHandle,
    moments: Moments,
}

/// The user of a call, for asking again what it may do when that goes on for long.
#[derive(Debug, Clone)]
pub(crate) struct Permit {
    access: Arc<Access>,
    user: UserName,
    /// What the call was signed with: worth nothing once the user has another secret.
    proof: Proof,
}

/// A call that may go on.
#[derive(Debug)]
pub(super) struct Allowed<'a> {
    pub(super) permit: Permit,
    /// The topic that it must not create.
    pub(super) without_creating: Option<&'a mainstay_proto::rocketmq::Resource>,
}

impl Access {
    pub(super) fn new(auth: Auth, group: GroupHandle) -> Self {
        Self { admin: auth.admin, group, moments: Moments::new(auth.clock_skew, auth.dates) }
    }

    /// Whether the call may be made.
    ///
    /// # Errors
    /// `UNAUTHORIZED`.
    pub(super) fn allow<'a, T: Guarded>(
        self: &Arc<Self>,
        metadata: &MetadataMap,
        request: &'a T,
    ) -> Checked<Allowed<'a>> {
        self.as_user(metadata, |user, proof| {
            request.check(user)?;
            let may_not_create = |topic: &&_| !user.may_create(&full_name(Some(*topic)));
            let permit = Permit { access: Arc::clone(self), user: user.user.clone(), proof };
            Ok(Allowed { permit, without_creating: request.creates().filter(may_not_create) })
        })
    }

    /// Whether a stream may be opened; what is said on it is checked by the permit.
    ///
    /// # Errors
    /// `UNAUTHORIZED`.
    pub(super) fn open(self: &Arc<Self>, metadata: &MetadataMap) -> Checked<Permit> {
        self.as_user(metadata, |user, proof| {
            Ok(Permit { access: Arc::clone(self), user: user.user.clone(), proof })
        })
    }

    fn as_user<R>(
        &self,
        metadata: &MetadataMap,
        act: impl FnOnce(&Permits<'_>, Proof) -> Checked<R>,
    ) -> Checked<R> {
        let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok());
        let header = text(AUTHORIZATION_HEADER).ok_or_else(|| {
            unauthorized(format!("credentials are needed: metadata '{AUTHORIZATION_HEADER}' is missing"))
        })?;
        let date = text(DATE_HEADER)
            .ok_or_else(|| unauthorized(format!("metadata '{DATE_HEADER}' is missing, which is signed")))?;
        let shown = Shown::parse(header).map_err(|error| {
            unauthorized(format!("metadata '{AUTHORIZATION_HEADER}' is no signature: {error}"))
        })?;
        if shown.access_key.is_empty() {
            return Err(unauthorized("credentials are needed: the access key is empty".to_owned()));
        }
        let (known, admin) = (self.group.metadata(), self.admin());
        let user = find(&known, admin.as_deref(), shown.access_key);
        let secret = user.map_or_else(|| NOBODY.expose(), |(_, secret)| secret);
        let genuine = shown.is_by(secret, date.as_bytes());
        let Some((permits, _)) = user.filter(|_| genuine) else {
            return Err(unauthorized("the access key is unknown or the secret key is wrong".to_owned()));
        };
        self.moments.believe(permits.user, date, now())?;
        act(&permits, shown.of(date.as_bytes()))
    }

    fn admin(&self) -> Option<Arc<Administrator>> {
        self.admin.as_ref().and_then(CurrentAdministrator::now)
    }
}

/// The user of this name as last applied here, and its secret.
fn find<'a>(
    known: &'a Metadata,
    admin: Option<&'a Administrator>,
    name: &str,
) -> Option<(Permits<'a>, &'a str)> {
    match admin {
        Some(admin) if admin.name.as_str() == name => {
            Some((Permits { user: &admin.name, rights: &Rights::Admin }, admin.secret.expose()))
        }
        _ => {
            let user = known.user(name)?;
            Some((Permits { user: &user.name, rights: &user.rights }, user.secret.expose()))
        }
    }
}

impl Permit {
    pub(super) fn user(&self) -> &str {
        self.user.as_str()
    }

    /// Whether the user, as it is by now, may make such a request.
    ///
    /// # Errors
    /// `UNAUTHORIZED`.
    pub(super) fn check(&self, request: &impl Guarded) -> Checked<()> {
        self.as_of_now(|user| request.check(user))?
    }

    /// Whether the user is still there and has the secret that the call was signed with.
    ///
    /// # Errors
    /// `UNAUTHORIZED`.
    pub(super) fn holds(&self) -> Checked<()> {
        self.as_of_now(|_| ())
    }

    /// Whether the user, as it is by now, may publish into `topic`, named in full.
    pub(super) fn may_publish(&self, topic: &str) -> bool {
        self.as_of_now(|user| user.rights.allow(Action::Publish, Resource::Topic(topic))).unwrap_or(false)
    }

    fn as_of_now<R>(&self, ask: impl FnOnce(&Permits<'_>) -> R) -> Checked<R> {
        let (known, admin) = (self.access.group.metadata(), self.access.admin());
        match find(&known, admin.as_deref(), self.user.as_str()) {
            Some((user, secret)) if self.proof.is_by(secret) => Ok(ask(&user)),
            Some(_) => Err(unauthorized(format!("user '{}' has another secret key by now", self.user))),
            None => Err(unauthorized(format!("user '{}' does not exist any more", self.user))),
        }
    }
}

fn unauthorized(text: String) -> Refusal {
    Refusal::new(Code::Unauthorized, text)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
