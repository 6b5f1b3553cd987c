//! `mainstay user …`

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use mainstay_proto::control::{
    ChangeUserRequest, CreateUserRequest, DeleteUserRequest, DescribeUserRequest, ListUsersRequest, Rights,
    User, UserSecret,
};
use serde::Serialize;

use crate::connect::{Target, refused};
use crate::output::{Format, Row, print_done, print_rows};

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Create a user; without a file, its secret key is made and printed this once.
    Create {
        /// The access key.
        name: String,
        /// File with the secret key.
        #[arg(long, value_name = "FILE")]
        new_secret_file: Option<PathBuf>,
        #[command(flatten)]
        rights: RightsArgs,
    },
    /// List all users.
    List,
    /// Show what a user may do.
    Describe { name: String },
    /// Give a user another secret key, other rights in place of those it has, or both.
    Change {
        name: String,
        /// File with the new secret key.
        #[arg(long, value_name = "FILE")]
        new_secret_file: Option<PathBuf>,
        /// Make a new secret key and print it this once.
        #[arg(long, conflicts_with = "new_secret_file")]
        new_secret: bool,
        #[command(flatten)]
        rights: RightsArgs,
    },
    /// Delete a user: its calls are refused from then on.
    Delete { name: String },
}

#[derive(Debug, Args)]
pub(crate) struct RightsArgs {
    /// May do everything.
    #[arg(long, conflicts_with = "allow")]
    admin: bool,
    /// What it may do, as actions:topic:name or actions:group:name, with publish, subscribe and manage for actions and * at
    /// the end of a name for all that begin so: publish,subscribe:topic:orders-*. May be given several times.
    #[arg(long, value_name = "GRANT")]
    allow: Vec<String>,
}

impl RightsArgs {
    fn given(self) -> Option<Rights> {
        (self.admin || !self.allow.is_empty()).then_some(Rights { admin: self.admin, grants: self.allow })
    }
}

#[derive(Debug, Serialize)]
struct UserRow {
    name: String,
    admin: bool,
    grants: Vec<String>,
    /// Of a secret that was made just now, and is told nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_key: Option<String>,
}

impl UserRow {
    fn new(user: User) -> Self {
        let Rights { admin, grants } = user.rights.unwrap_or_default();
        Self { name: user.name, admin, grants, secret_key: None }
    }

    fn rights(&self) -> String {
        match (self.admin, self.grants.as_slice()) {
            (true, _) => "everything".to_owned(),
            (false, []) => "nothing".to_owned(),
            (false, grants) => grants.join(" "),
        }
    }
}

impl Row for UserRow {
    const COLUMNS: &'static [&'static str] = &["name", "may"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.rights()]
    }
}

pub(crate) async fn run(command: UserCommand, target: &Target, format: Format) -> anyhow::Result<()> {
    match command {
        UserCommand::Create { name, new_secret_file, rights } => {
            let (secret, made) = secret(new_secret_file.as_deref())?;
            create(target, format, name, secret, made, rights.given().unwrap_or_default()).await
        }
        UserCommand::List => {
            let answer =
                target.admin().await?.list_users(ListUsersRequest {}).await.map_err(|s| refused(&s))?;
            let answer = answer.into_inner();
            if !answer.auth_enabled && format == Format::Table {
                eprintln!(
                    "mainstay: access control is off: brokers take every client's calls ([auth] enabled = false)"
                );
            }
            print_rows(format, &answer.users.into_iter().map(UserRow::new).collect::<Vec<_>>())
        }
        UserCommand::Describe { name } => {
            let request = DescribeUserRequest { name };
            let answer = target.admin().await?.describe_user(request).await.map_err(|s| refused(&s))?;
            let user = answer.into_inner().user.context("the broker answered without a user")?;
            print_rows(format, &[UserRow::new(user)])
        }
        UserCommand::Change { name, new_secret_file, new_secret, rights } => {
            let (secret, made) = match (&new_secret_file, new_secret) {
                (None, false) => (None, None),
                (path, _) => {
                    let (secret, made) = secret(path.as_deref())?;
                    (Some(secret), made)
                }
            };
            let rights = rights.given();
            if secret.is_none() && rights.is_none() {
                bail!("nothing to change: neither a secret key nor rights are given");
            }
            let request = ChangeUserRequest { name, secret, rights };
            let answer = target.admin().await?.change_user(request).await.map_err(|s| refused(&s))?;
            let user = answer.into_inner().user.context("the broker answered without a user")?;
            let row = UserRow { secret_key: made, ..UserRow::new(user) };
            done(format, "changed", row)
        }
        UserCommand::Delete { name } => {
            let request = DeleteUserRequest { name: name.clone() };
            target.admin().await?.delete_user(request).await.map_err(|s| refused(&s))?;
            print_done(format, &format!("user {name} deleted"), &serde_json::json!({ "deleted": name }))
        }
    }
}

async fn create(
    target: &Target,
    format: Format,
    name: String,
    secret: UserSecret,
    made: Option<String>,
    rights: Rights,
) -> anyhow::Result<()> {
    let user = User { name, rights: Some(rights), revision: 0 };
    let request = CreateUserRequest { user: Some(user.clone()), secret: Some(secret) };
    let answer = target.admin().await?.create_user(request).await.map_err(|s| refused(&s))?;
    let what = if answer.into_inner().created { "created" } else { "exists already" };
    done(format, what, UserRow { secret_key: made, ..UserRow::new(user) })
}

fn done(format: Format, what: &str, row: UserRow) -> anyhow::Result<()> {
    let mut sentence = format!("user {} {what}, may do: {}", row.name, row.rights());
    if let Some(secret) = &row.secret_key {
        sentence.push_str(&format!("\nsecret key, shown this once: {secret}"));
    }
    print_done(format, &sentence, &row)
}

/// The secret of the file, or one made now, with its text then.
fn secret(path: Option<&Path>) -> anyhow::Result<(UserSecret, Option<String>)> {
    if let Some(path) = path {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read --new-secret-file {}", path.display()))?;
        return Ok((UserSecret { text: text.trim().to_owned() }, None));
    }
    let text = format!("{:032x}", rand::random::<u128>());
    Ok((UserSecret { text: text.clone() }, Some(text)))
}
