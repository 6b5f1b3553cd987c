//! Users come, change and go: by commands in the metadata group, followed in the others.

use super::{ChangeUser, CreateUser, User, UserName};
use crate::outcome::{Outcome, Refusal};
use crate::state::State;

impl State {
    pub(crate) fn create_user(&mut self, create: &CreateUser) -> Result<Outcome, Refusal> {
        self.require_metadata_group()?;
        if let Some(user) = self.users.get(&create.name) {
            if user.secret == create.secret && user.rights == create.rights {
                return Ok(Outcome::UserCreated { created: false });
            }
            return Err(Refusal::UserExistsDifferently(create.name.clone()));
        }
        let revision = self.next_version();
        let CreateUser { name, secret, rights } = create.clone();
        self.users.insert(name.clone(), User { name, secret, rights, revision });
        Ok(Outcome::UserCreated { created: true })
    }

    pub(crate) fn change_user(&mut self, change: &ChangeUser) -> Result<Outcome, Refusal> {
        self.require_metadata_group()?;
        let Some(user) = self.users.get(&change.name) else {
            return Err(Refusal::UnknownUser(change.name.clone()));
        };
        let mut changed = user.clone();
        if let Some(secret) = &change.secret {
            changed.secret = secret.clone();
        }
        if let Some(rights) = &change.rights {
            changed.rights = rights.clone();
        }
        if changed != *user {
            changed.revision = self.next_version();
            self.users.insert(change.name.clone(), changed);
        }
        Ok(Outcome::UserChanged)
    }

    pub(crate) fn delete_user(&mut self, name: &UserName) -> Result<Outcome, Refusal> {
        self.require_metadata_group()?;
        if self.users.remove(name).is_none() {
            return Err(Refusal::UnknownUser(name.clone()));
        }
        self.next_version();
        Ok(Outcome::UserDeleted)
    }

    pub(crate) fn sync_users(&mut self, users: &[User]) {
        self.users = users.iter().map(|user| (user.name.clone(), user.clone())).collect();
    }

    /// All users, sorted by name.
    pub fn users(&self) -> Vec<User> {
        let mut users: Vec<User> = self.users.values().cloned().collect();
        users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        users
    }
}
