//! Access control for tests: a broker that wants credentials, its administrator, and users.
#![allow(dead_code, clippy::unwrap_used)]

use mainstay_broker::config::{Administrator, Auth, Config};
use mainstay_messaging::{ChangeUser, Command, CreateUser, DeleteUser, Rights, UserName, UserSecret};

use crate::client::Client;
use crate::server::Server;

const ADMIN: (&str, &str) = ("admin", "admin-secret");
pub(crate) const SECRET: &str = "secret-of-user";
pub(crate) const NEW_SECRET: &str = "a-new-secret";

pub(crate) fn with_auth(config: &mut Config) {
    let name = UserName::new(ADMIN.0).unwrap();
    let secret = UserSecret::new(ADMIN.1).unwrap();
    config.auth = Some(Auth { admin: Some(Administrator { name, secret }.into()), ..Auth::default() });
}

pub(crate) fn admin(server: &Server) -> Client {
    server.client().signed(ADMIN.0, ADMIN.1)
}

pub(crate) fn rights(grants: &[&str]) -> Rights {
    Rights::granted(grants.iter().map(|grant| grant.parse().unwrap()).collect()).unwrap()
}

/// With [`SECRET`].
pub(crate) fn create(name: &str, rights: Rights) -> Command {
    let (name, secret) = (UserName::new(name).unwrap(), UserSecret::new(SECRET).unwrap());
    Command::CreateUser(CreateUser { name, secret, rights })
}

/// To [`NEW_SECRET`].
pub(crate) fn change_secret(name: &str) -> Command {
    let (name, secret) = (UserName::new(name).unwrap(), UserSecret::new(NEW_SECRET).unwrap());
    Command::ChangeUser(ChangeUser { name, secret: Some(secret), rights: None })
}

pub(crate) fn change_rights(name: &str, rights: Rights) -> Command {
    let name = UserName::new(name).unwrap();
    Command::ChangeUser(ChangeUser { name, secret: None, rights: Some(rights) })
}

pub(crate) fn delete(name: &str) -> Command {
    Command::DeleteUser(DeleteUser { name: UserName::new(name).unwrap() })
}
