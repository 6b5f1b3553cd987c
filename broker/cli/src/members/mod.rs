//! `mainstay member …`: who belongs to a broker group, and changing that.
//!
//! Any broker is asked; it passes wishes on to the group's leader. A wish is based on the membership that was looked at
//! before, and made anew, once, when that has changed meanwhile.

mod list;
mod picture;
mod progress;
mod wish;

use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use mainstay_proto::control::{AbandonMemberChangeRequest, ChangeMembersRequest};
use mainstay_record::NodeId;
use serde::Serialize;

use crate::connect::{Admin, Target, refused};
use crate::output::{Format, print_done, print_rows};
use crate::times;
use picture::Picture;
use progress::Progress;
use wish::{Plan, Wish};

/// How often the brokers are asked how far a change is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Every member with its part, its progress and the membership it belongs to.
    List {
        /// Only this broker group.
        #[arg(long)]
        group: Option<u32>,
    },
    /// Put another node in the place of a member, for instance of one whose volume is lost.
    Replace {
        /// The member that goes: 16 hexadecimal digits, as `list` shows them.
        old: NodeId,
        /// The node that takes its place.
        new: NodeId,
        #[command(flatten)]
        how: How,
    },
    /// Take a node in.
    Add {
        node: NodeId,
        #[command(flatten)]
        how: How,
    },
    /// Let a member go.
    Remove {
        node: NodeId,
        #[command(flatten)]
        how: How,
    },
    /// Change how many members must have a message before it is acknowledged (mode Sync).
    MinInSync {
        copies: u32,
        #[command(flatten)]
        how: How,
    },
    /// Take back a change that still waits for a new member to catch up.
    Abandon {
        /// The broker group.
        #[arg(long, default_value_t = 0)]
        group: u32,
    },
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct How {
    /// The broker group.
    #[arg(long, default_value_t = 0)]
    group: u32,
    /// How long to wait for the change to be through; it goes on after that. 0s only asks for it.
    #[arg(long, default_value = "60s", value_parser = times::duration)]
    wait: Duration,
}

pub(crate) async fn run(command: MemberCommand, target: &Target, format: Format) -> anyhow::Result<()> {
    let mut admin = target.admin().await?;
    let (wish, how) = match command {
        MemberCommand::List { group } => {
            let pictures = picture::look_at_all(&mut admin).await?;
            if let Some(group) = group {
                picture::of(&pictures, group)?;
            }
            let shown = pictures.iter().filter(|picture| group.is_none_or(|group| group == picture.group));
            return print_rows(format, &shown.flat_map(list::rows).collect::<Vec<_>>());
        }
        MemberCommand::Abandon { group } => return abandon(&mut admin, group, format).await,
        MemberCommand::Replace { old, new, how } => (Wish::Replace { old, new }, how),
        MemberCommand::Add { node, how } => (Wish::Add { node }, how),
        MemberCommand::Remove { node, how } => (Wish::Remove { node }, how),
        MemberCommand::MinInSync { copies, how } => (Wish::MinInSync { copies }, how),
    };
    let plan = ask(&mut admin, how.group, wish).await?;
    eprintln!("broker group {}: the leader has taken the change", how.group);
    if how.wait.is_zero() {
        return print_done(format, &plan.to_string(), &Settled::planned(how.group, &plan));
    }
    let version = wait(&mut admin, &plan, how).await?;
    let settled = Settled { version: Some(version), ..Settled::planned(how.group, &plan) };
    print_done(format, &format!("broker group {}: {plan} (version {version})", how.group), &settled)
}

/// What a change leads to.
#[derive(Debug, Serialize)]
struct Settled {
    group: u32,
    /// Of the membership; absent while the change is not through.
    version: Option<u64>,
    voters: Vec<String>,
    write_quorum: u32,
}

impl Settled {
    fn planned(group: u32, plan: &Plan) -> Self {
        let voters = plan.voters.iter().map(|node| picture::hex(*node)).collect();
        Self { group, version: None, voters, write_quorum: plan.write_quorum }
    }
}

/// Has the group's leader begin the change.
async fn ask(admin: &mut Admin, group: u32, wish: Wish) -> anyhow::Result<Plan> {
    let mut asked_before = None;
    loop {
        let picture = Picture::look(admin, group).await?;
        let plan = wish.plan(&picture)?;
        if let Some((version, reason)) = &asked_before
            && *version == plan.version
        {
            bail!("the leader of broker group {group} does not take the change: {reason}");
        }
        let request = ChangeMembersRequest { group, change: Some(plan.request()) };
        let answer = admin.change_members(request).await.map_err(|status| refused(&status))?.into_inner();
        if answer.accepted {
            return Ok(plan);
        }
        if asked_before.is_some() {
            bail!("the leader of broker group {group} does not take the change: {}", answer.reason);
        }
        asked_before = Some((plan.version, answer.reason));
    }
}

/// Waits until the change is through; gives the version of the membership.
async fn wait(admin: &mut Admin, plan: &Plan, how: How) -> anyhow::Result<u64> {
    let until = tokio::time::Instant::now() + how.wait;
    let mut told = String::new();
    loop {
        let now = match Picture::look(admin, how.group).await {
            Ok(picture) => progress::of(plan, &picture),
            Err(error) => Progress::Going(format!("{error:#}")),
        };
        match now {
            Progress::Through { version } => return Ok(version),
            Progress::GivenUp(why) => bail!("broker group {}: the change came to nothing: {why}", how.group),
            Progress::Going(line) if tokio::time::Instant::now() >= until => {
                return Err(anyhow!(
                    "broker group {}: the change is not through within --wait {}s: {line}. It goes on; `mainstay member \
                     list` tells how far it is, `mainstay member abandon` takes it back while it waits for a new member",
                    how.group,
                    how.wait.as_secs()
                ));
            }
            Progress::Going(line) if line != told => {
                eprintln!("broker group {}: {line}", how.group);
                told = line;
            }
            Progress::Going(_) => {}
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn abandon(admin: &mut Admin, group: u32, format: Format) -> anyhow::Result<()> {
    let changing = Picture::look(admin, group).await?.leader()?.changing;
    let request = AbandonMemberChangeRequest { group };
    let answer = admin.abandon_member_change(request).await.map_err(|status| refused(&status))?.into_inner();
    if !answer.accepted {
        bail!("the leader of broker group {group} does not take the change back: {}", answer.reason);
    }
    let done = if changing { "the change is taken back" } else { "no change was under way" };
    let value = serde_json::json!({ "group": group, "abandoned": changing });
    print_done(format, &format!("broker group {group}: {done}"), &value)
}
