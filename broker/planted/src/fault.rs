//! The faults, each with one line that says what goes wrong and where the rule lives that it breaks.

/// The part of the product whose rule a fault breaks; tells which proofs should notice first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// The log and the small files on the disk.
    Storage,
    /// Votes, commits, leases of Raft and Sync groups.
    Consensus,
    /// What only Async groups do: forced promotion, quarantine, the operator's lease.
    Forced,
    /// Topics, deliveries, acknowledgements.
    Messaging,
    /// What the broker does with what its core, log and state machine say.
    Driver,
    /// The operator's decisions.
    Operator,
}

macro_rules! faults {
    ($($home:ident { $(#[doc = $what:literal] $fault:ident,)* })*) => {
        /// A mistake that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault {
            $($(#[doc = $what] $fault,)*)*
        }

        impl Fault {
            /// Every fault there is.
            pub const ALL: &[Self] = &[$($(Self::$fault,)*)*];

            /// What the environment variable calls it.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$fault => stringify!($fault),)*)*
                }
            }

            /// One line that says what goes wrong.
            pub fn description(self) -> &'static str {
                match self {
                    $($(Self::$fault => $what.trim_ascii(),)*)*
                }
            }

            pub const fn home(self) -> Home {
                match self {
                    $($(Self::$fault)|* => Home::$home,)*
                }
            }
        }
    };
}

faults! {
    Storage {
        /// Batches are reported durable without an fdatasync.
        SkipFsync,
        /// An fdatasync that failed is tried again, and its success believed.
        RetryFsync,
        /// A folder is not synced after a name in it has changed.
        ForgetFolderSync,
        /// A small file takes the place of the old one before it is forced to the disk.
        RenameUnsynced,
        /// The mark says durable before the fdatasync.
        EarlyMark,
        /// The writer reports a batch durable before it is forced.
        ReportBeforeFsync,
        /// What is read after a restart is taken for durable and not written again.
        TrustPageCache,
        /// Damage in the middle of the log is cut like a torn tail.
        CutDamage,
        /// The checksum of a batch is not compared.
        SkipChecksum,
        /// A truncation begins without the mark that has recovery complete it.
        ForgetCut,
        /// The beginning of the log is given up without noting durably where it begins now.
        ForgetBase,
    }
    Consensus {
        /// One copy fewer than the write quorum commits.
        SmallWriteQuorum,
        /// One grant fewer than needed makes a leader.
        SmallGrantQuorum,
        /// Batches of a leader whose epoch is over are taken.
        AcceptStaleEpoch,
        /// An epoch is granted to a candidate whose log is behind.
        GrantToStaleLog,
        /// A grant is told without having been stored.
        ForgetGrant,
        /// A restarted member does not keep the promise that it may have given.
        ForgetPromise,
        /// A leader serves when its lease is over.
        ServeAfterLease,
        /// A lease is counted from when the answer arrives, not from when the question was sent.
        LeaseFromAnswer,
        /// A leader serves although it has let its successor campaign at once.
        ServeAfterRelease,
        /// A batch of an older epoch commits by counting its copies.
        CommitOldEpoch,
        /// A leader counts itself with what it has not persisted.
        CountUnpersisted,
        /// A follower acknowledges what it has not persisted.
        AcknowledgeUnpersisted,
        /// A follower takes for committed what it does not share with the leader.
        DeliverUncommitted,
        /// A late message that ends early takes away what came after it, committed or not.
        TruncateCommitted,
        /// A member grants as if nothing were missing although it lost what it had acknowledged.
        GrantAfterLoss,
        /// A member that lost entries has caught up before its leader knows of the loss.
        CatchUpEarly,
        /// A leader goes on counting the copies that a member has lost.
        CountLost,
        /// During a change of the membership only the quorum of the new voters is taken.
        NewQuorumOnly,
        /// A new member counts before it has caught up.
        LearnerCountsEarly,
    }
    Forced {
        /// A forced promotion does not wait for the lease that this node has promised.
        PromoteWithinPromise,
        /// The tail of a deposed leader is thrown away instead of put aside.
        DiscardTail,
    }
    Messaging {
        /// A message is delivered again a moment before its invisible time is over.
        EarlyRedelivery,
        /// A redelivery does not count as an attempt.
        AttemptNotCounted,
        /// A receipt handle is good although a newer delivery has replaced it.
        AcceptReplacedHandle,
        /// An acknowledged message stays due and is delivered again.
        DeliverAcknowledged,
        /// A receive that is full skips the next message.
        SkipMessage,
        /// What is in flight is not in a snapshot.
        ForgetInFlight,
        /// Trimming takes one batch more than it was asked to.
        TrimOneTooMany,
        /// A message of a message group is delivered while an earlier one of it is in flight.
        FifoOvertakes,
        /// A message that is sent again with the same id is stored again.
        StoreTwice,
        /// A delayed message is delivered a second before its time.
        DeliverEarly,
        /// A recalled message is delivered all the same.
        IgnoreRecall,
        /// A rollback delivers the half message.
        CommitRolledBack,
        /// A message becomes a dead letter twice.
        BuryTwice,
        /// A message becomes a dead letter one attempt too early.
        OneAttemptLess,
        /// A leader goes by its own wall clock, whatever happens to it and whatever the others' show.
        BelieveOneClock,
    }
    Driver {
        /// A leader answers when it alone has persisted a batch.
        AnswerEarly,
        /// A leader accepts and delivers although its lease is over.
        IgnoreLease,
        /// The granted epoch is not stored although the core asked for it.
        LeaveGrantUnstored,
        /// The tail that the core wants put aside is thrown away.
        LeaveTailUnsaved,
        /// A send whose outcome is unknown is told as one that was not stored.
        TellUnknownAsRefused,
        /// The beginning of the log is given up without a snapshot that stands for it.
        ForgetUncovered,
    }
    Operator {
        /// Another leader is vouched for while the lease of the one before may run.
        VouchTwice,
        /// A promotion is ordered while a lease that was vouched for may run.
        PromoteEarly,
        /// An order takes the epoch of the order before it.
        ReuseOrderEpoch,
    }
}

impl Fault {
    /// The fault of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_name_and_nothing_else_is() {
        for fault in Fault::ALL {
            assert_eq!(Fault::named(fault.name()), Some(*fault));
            assert!(fault.description().ends_with('.') && !fault.description().contains('\n'));
        }
        assert_eq!(Fault::named("skipfsync"), None);
        assert!(Fault::ALL.len() >= 20);
    }
}
