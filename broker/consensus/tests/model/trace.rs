//! A path through the states as something to read.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mainstay_consensus::{Message, Role};
use mainstay_record::{Batch, BatchKind, EntryId, Epoch};

use crate::canon::Canon;
use crate::moves::Move;
use crate::world::{Flight, World};

/// Goes the path again from the start and tells each move and what it changed.
pub(crate) fn tell(start: &World, path: &[Move]) -> String {
    let mut story = String::new();
    let mut canon = Canon::default();
    let mut world = start.clone();
    let _ = writeln!(story, "start\n{}", group(&world, None));
    for (at, what) in path.iter().enumerate() {
        let before = world.clone();
        let _ = writeln!(story, "{:>3}. {}", at + 1, describe(&world, *what));
        let made = catch_unwind(AssertUnwindSafe(|| world.make(*what, &mut canon)));
        let _ = writeln!(story, "{}", group(&world, Some(&before)));
        if let Ok(Err(violation)) = made {
            let _ = writeln!(story, "     violated {}: {}", violation.check, violation.what);
        }
    }
    story
}

fn describe(world: &World, what: Move) -> String {
    match what {
        Move::Deliver(at) => format!("deliver {}", flight(&world.flights[at as usize])),
        Move::Duplicate(at) => {
            format!("deliver, and keep for later, {}", flight(&world.flights[at as usize]))
        }
        Move::Lose(at) => format!("lose {}", flight(&world.flights[at as usize])),
        Move::Lend(at) => format!("arrives: {:?}", world.operator.vouchers[at as usize]),
        other => format!("{other:?}"),
    }
}

fn epoch(epoch: Epoch) -> String {
    format!("{}.{}", epoch.number, epoch.candidate)
}

fn entry(id: EntryId) -> String {
    format!("{}@{}", id.index, epoch(id.epoch))
}

fn log(batches: &[Batch]) -> String {
    let one = |batch: &Batch| {
        let kind = match batch.header().kind {
            BatchKind::Data => format!("={}", batch.bytes().last().copied().unwrap_or_default()),
            BatchKind::Epoch => String::from("e"),
            BatchKind::Membership => String::from("m"),
        };
        format!("{}{kind}", epoch(batch.id().epoch))
    };
    batches.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn flight(flight: &Flight) -> String {
    let text = match &flight.message {
        Message::VoteRequest(request) => {
            let kind = if request.pre_vote { "PreVote" } else { "Vote" };
            let forced = if request.forced { " forced" } else { "" };
            let released = request.released.map(|of| format!(" released {}", epoch(of))).unwrap_or_default();
            format!("{kind}{forced} {}{released}, last {}", epoch(request.epoch), entry(request.last))
        }
        Message::VoteResponse(response) => {
            let kind = if response.pre_vote { "PreVote" } else { "Vote" };
            let granted = if response.granted { "granted" } else { "refused" };
            format!("{kind} {} {granted}, highest {}", epoch(response.epoch), epoch(response.highest))
        }
        Message::Append(append) => {
            let header = &append.header;
            let (at, prev) = (epoch(header.epoch), entry(header.prev));
            format!(
                "Append {at} after {prev} [{}] commit {} round {}",
                log(&append.batches),
                header.commit,
                header.round
            )
        }
        Message::AppendResponse(response) => {
            let (epoch, accepted) =
                (epoch(response.epoch), if response.accepted { "accepted" } else { "refused" });
            format!("AppendResponse {epoch} {accepted} {} round {}", response.index, response.round)
        }
        Message::TimeoutNow(order) => format!("TimeoutNow {}", epoch(order.epoch)),
    };
    format!("n{}->n{} {text}", flight.from + 1, flight.to + 1)
}

/// The nodes that differ from `before`.
fn group(world: &World, before: Option<&World>) -> String {
    let mut text = String::new();
    let moved = before.is_some_and(|before| before.now != world.now);
    if moved {
        let _ = writeln!(text, "     time {:.3} s", world.now as f64 / 1e6);
    }
    for (at, node) in world.nodes.iter().enumerate() {
        if before.is_some_and(|before| std::rc::Rc::ptr_eq(&before.nodes[at], node)) && !moved {
            continue;
        }
        let _ = write!(text, "     n{} ", at + 1);
        match &node.core {
            None => {
                let _ =
                    writeln!(text, "down, granted {}, disk [{}]", epoch(node.hard.granted), log(&node.disk));
                continue;
            }
            Some(core) => {
                let view = core.view(node.local(world.now));
                let role = match view.role {
                    Role::Follower => "follower ",
                    Role::Candidate => "candidate",
                    Role::Leader => "LEADER   ",
                };
                let serving = if view.serving { " SERVES" } else { "" };
                let _ = write!(
                    text,
                    "{role} {} granted {} log [{}] persisted {} commit {}{serving}",
                    epoch(view.epoch),
                    epoch(view.granted),
                    log(&node.log),
                    view.persisted,
                    view.commit,
                );
            }
        }
        let aside = if node.quarantine.is_empty() {
            String::new()
        } else {
            format!(" aside [{}]", log(&node.quarantine))
        };
        let _ = writeln!(text, "{aside}");
    }
    text.truncate(text.trim_end().len());
    text
}
