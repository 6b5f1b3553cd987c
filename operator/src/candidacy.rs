//! When an operator may act and when it must stop: the rule of client-go, pure.
//!
//! A lease is taken over only after this process has itself seen it unchanged for its whole duration, so clocks need not
//! agree; and every write carries the resource version that was read, so two never win. The holder stops earlier than
//! anybody can take over, counted from before its last successful renewal was sent.

use std::time::Duration;

use crate::decide::observed::Moment;

/// Durations; `renew_within < duration` is what keeps two holders apart.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a lease must have been unchanged before another takes it.
    pub duration: Duration,
    /// How long a holder acts on without a renewal.
    pub renew_within: Duration,
    /// Time between two looks.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(10),
            renew_within: Duration::from_secs(7),
            retry: Duration::from_millis(1500),
        }
    }
}

/// The lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub holder: Option<String>,
    pub version: String,
    /// As the holder wrote it.
    pub duration: Duration,
}

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write it with our name.
    Take,
    /// Write it again.
    Renew,
    Wait,
}

/// What a candidate knows.
#[derive(Debug)]
pub struct Candidate {
    identity: String,
    seen: Option<(String, Moment)>,
}

impl Candidate {
    pub fn new(identity: String) -> Self {
        Self { identity, seen: None }
    }

    /// What to do about the lease as it is now; absent when there is none.
    pub fn look(&mut self, lease: Option<&Seen>, now: Moment) -> Step {
        let Some(lease) = lease else { return Step::Take };
        let Some(holder) = lease.holder.as_deref().filter(|holder| !holder.is_empty()) else {
            return Step::Take;
        };
        if holder == self.identity {
            return Step::Renew;
        }
        match &self.seen {
            Some((version, since)) if *version == lease.version => {
                if now.since(*since) >= lease.duration {
                    Step::Take
                } else {
                    Step::Wait
                }
            }
            _ => {
                self.seen = Some((lease.version.clone(), now));
                Step::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment(Duration::from_secs(secs))
    }

    fn held(by: &str, version: &str) -> Seen {
        Seen { holder: Some(by.to_owned()), version: version.to_owned(), duration: Duration::from_secs(10) }
    }

    #[test]
    fn a_lease_is_taken_when_free_and_kept_when_ours() {
        let mut candidate = Candidate::new("a".to_owned());
        assert_eq!(candidate.look(None, at(0)), Step::Take);
        assert_eq!(candidate.look(Some(&held("", "1")), at(0)), Step::Take);
        assert_eq!(candidate.look(Some(&held("a", "2")), at(0)), Step::Renew);
    }

    #[test]
    fn anothers_lease_is_taken_only_after_it_was_seen_unchanged_for_its_duration() {
        let mut candidate = Candidate::new("a".to_owned());
        assert_eq!(candidate.look(Some(&held("b", "1")), at(100)), Step::Wait);
        assert_eq!(candidate.look(Some(&held("b", "1")), at(109)), Step::Wait);
        assert_eq!(candidate.look(Some(&held("b", "2")), at(110)), Step::Wait, "it was renewed");
        assert_eq!(candidate.look(Some(&held("b", "2")), at(119)), Step::Wait);
        assert_eq!(candidate.look(Some(&held("b", "2")), at(120)), Step::Take);
    }

    #[test]
    fn a_holder_stops_before_anybody_takes_over() {
        let timing = Timing::default();
        assert!(timing.renew_within < timing.duration && timing.retry < timing.renew_within / 3);
    }
}
