//! Elections in Sync and Async mode: when to call one and whom to choose.
//!
//! Safety is the brokers' affair; what is kept here is that an order is always above every epoch known, that the newest
//! order on record is superseded and never repeated, that a healthy leader is left alone, and that in Async nobody is
//! promoted while a lease that was vouched for may still run.

use std::time::Duration;

use mainstay_crds::group::OrderKind;
use mainstay_planted::{Fault, planted};

use super::{
    action::Action,
    leader::{Leadership, patience},
    lease,
    memory::{Memory, Pending},
    observed::{Member, Mode, Moment, Observed, Report},
};

/// How long a broker may act on an order, from its clock's reading that the order is based on.
pub const ORDER_VALID: Duration = Duration::from_secs(2);
/// How long a member other than the lost leader may be silent before a promotion goes ahead without it: it may have more.
pub const GATHER: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Whether the newest order on record may still be acted on. It is counted from a reading of the broker's clock that had
/// arrived before the order was put on record, so it is void there before it is taken for void here.
pub fn order_open(observed: &Observed, memory: &Memory, now: Moment) -> bool {
    let ordered = observed.ordered();
    ordered != 0
        && memory
            .order_seen
            .is_none_or(|(epoch, seen)| epoch != ordered || now < seen.plus(ORDER_VALID).plus(lease::DRIFT))
}

/// Why there is no election although there is no leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standstill {
    /// Not for long enough, or an order is under way.
    Patience,
    /// Too few replicas answer.
    Blocked(String),
}

/// Calls an election if one is due. Only to be asked while there is no healthy leader.
pub fn elect(
    observed: &Observed,
    leadership: Leadership<'_>,
    memory: &mut Memory,
    now: Moment,
) -> Result<Action, Standstill> {
    let since = *memory.leaderless_since.get_or_insert(now);
    if matches!(observed.mode, Mode::Raft | Mode::None) {
        return Err(Standstill::Patience);
    }
    if observed.mode == Mode::Async && matches!(leadership, Leadership::Lonely(_)) {
        // It becomes healthy when the order against it is void; another order would only keep that from happening.
        return Err(Standstill::Patience);
    }
    if let Some(why) = alone(observed, leadership) {
        let patient = now.since(since) < patience(observed, memory, leadership);
        return Err(if patient { Standstill::Patience } else { Standstill::Blocked(why) });
    }
    if let Some(pending) = &memory.pending {
        if !pending.refused && now.since(pending.sent) < ORDER_VALID {
            return Err(Standstill::Patience);
        }
        memory.failures = memory.failures.saturating_add(1);
        memory.failed_candidate = Some(pending.member.clone());
        memory.retry_at = now.plus(retry_delay(memory.failures));
        memory.pending = None;
    }
    let (kind, candidate) = choose(observed, leadership, memory, now)?;
    if now.since(since) < patience(observed, memory, leadership) || now < memory.retry_at {
        return Err(Standstill::Patience);
    }
    let next = u64::from(!planted(Fault::ReuseOrderEpoch));
    let epoch = highest_epoch(observed).saturating_add(next);
    memory.pending = Some(Pending { epoch, member: candidate.name.clone(), sent: now, refused: false });
    Ok(Action::Order {
        epoch,
        supersedes: observed.ordered(),
        member: candidate.name.clone(),
        kind,
        as_of_clock_ms: candidate.report.as_ref().map_or(0, |report| report.clock_ms),
        valid: ORDER_VALID,
        reason: reason(observed, leadership),
    })
}

/// Why nobody could lead any better in Sync: a leader whose followers are all gone stays alone however often it is elected,
/// and commits as soon as it is followed. Unless somebody has granted more, and will not follow this epoch.
fn alone(observed: &Observed, leadership: Leadership<'_>) -> Option<String> {
    let (Leadership::Lonely(leader), Mode::Sync { .. }) = (leadership, observed.mode) else { return None };
    let others = observed.reports().any(|(_, r)| r.role.takes_part() && r.node != leader.node);
    (!others && highest_epoch(observed) <= leader.epoch.number)
        .then(|| format!("{} leads, but no other replica answers that takes part", leader.member))
}

fn retry_delay(failures: u32) -> Duration {
    Duration::from_millis(250).saturating_mul(1 << failures.min(10)).min(LONGEST_RETRY)
}

fn reason(observed: &Observed, leadership: Leadership<'_>) -> String {
    match (&observed.recorded.leader, leadership) {
        (None, _) => "the group has had no leader yet".to_owned(),
        (Some(leader), Leadership::Lonely(_)) => format!("leader {leader} is not heard by its followers"),
        (Some(leader), _) => format!("leader {leader} is not heard"),
    }
}

/// The highest epoch that anybody has granted, followed or been ordered to.
fn highest_epoch(observed: &Observed) -> u64 {
    let told = observed.reports().map(|(_, report)| {
        report.highest.max(report.granted).max(report.epoch).max(report.last_epoch).number
    });
    let recorded = observed.recorded.epoch.and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or(0);
    told.chain([recorded, observed.ordered()]).max().unwrap_or(0)
}

fn choose<'a>(
    observed: &'a Observed,
    leadership: Leadership<'_>,
    memory: &Memory,
    now: Moment,
) -> Result<(OrderKind, &'a Member), Standstill> {
    let replicas = observed.members.len();
    let voters: Vec<(&Member, &Report)> =
        observed.reports().filter(|(_, report)| report.role.takes_part()).collect();
    let needed = observed.mode.grant_quorum(replicas);
    let kind = match observed.mode {
        // All answer here, but they may not reach each other.
        Mode::Async if memory.failures >= 2 && highest_epoch(observed) != 0 => OrderKind::Promote,
        Mode::Async if voters.len() < needed => OrderKind::Promote,
        _ => OrderKind::Campaign,
    };
    match kind {
        OrderKind::Campaign if voters.len() < needed => {
            return Err(Standstill::Blocked(format!(
                "{} of {replicas} replicas answer and take part; an election needs {needed}",
                voters.len()
            )));
        }
        OrderKind::Promote => may_promote(observed, memory, &voters, now)?,
        OrderKind::Campaign => {}
    }
    // A leader that nobody follows would fail again; in Async its own followers do not matter to it.
    let lonely = match (leadership, observed.mode) {
        (Leadership::Lonely(leader), Mode::Sync { .. }) if voters.len() > needed => Some(leader.node),
        _ => None,
    };
    voters
        .into_iter()
        .filter(|(_, report)| Some(report.node) != lonely)
        .max_by_key(|(member, report)| {
            let failed = memory.failed_candidate.as_deref() == Some(&member.name);
            // Whoever wins a campaign has every committed entry; after two failures somebody else may be luckier.
            let hopeless = failed && memory.failures >= 2 && kind == OrderKind::Campaign;
            let leaving = member.pod.as_ref().is_none_or(|pod| pod.deleting);
            (
                !hopeless,
                report.last_epoch,
                report.last_index,
                !leaving,
                !failed,
                std::cmp::Reverse(&member.name),
            )
        })
        .map(|(member, _)| (kind, member))
        .ok_or_else(|| Standstill::Blocked("no replica answers that takes part".to_owned()))
}

/// A promotion destroys nothing but may put acknowledged messages aside: wait for whoever may have more, and for the old
/// leader's lease.
fn may_promote(
    observed: &Observed,
    memory: &Memory,
    voters: &[(&Member, &Report)],
    now: Moment,
) -> Result<(), Standstill> {
    // The first leader of all is elected by every replica: then nobody can have more.
    if highest_epoch(observed) == 0 {
        return Err(Standstill::Blocked(
            "the group has had no leader yet and waits for all its replicas".to_owned(),
        ));
    }
    if voters.is_empty() {
        return Err(Standstill::Blocked("no replica answers that takes part".to_owned()));
    }
    if !lease::is_over(observed, memory, now) && !planted(Fault::PromoteEarly) {
        return Err(Standstill::Patience);
    }
    let lost = observed.recorded.leader.as_deref();
    let awaited = observed.members.iter().any(|member| {
        Some(member.name.as_str()) != lost
            && member.report.is_none()
            && memory.silent_for(&member.name, now) < GATHER
    });
    if awaited { Err(Standstill::Patience) } else { Ok(()) }
}
