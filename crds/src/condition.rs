//! Names of condition types and of their reasons, in one place: documents, tests and the operator use these.

/// Everything that was asked for is there: the spec is accepted, every broker is ready, every group has a leader.
pub const READY: &str = "Ready";
/// Every group has a leader that can commit.
pub const WRITABLE: &str = "Writable";
/// Losing any one leader now would lose nothing acknowledged, and another replica would take writes.
pub const FAILOVER_READY: &str = "FailoverReady";
/// Present while a divergent tail of a former leader lies in a quarantine file.
pub const QUARANTINED: &str = "Quarantined";

/// Reasons.
pub mod reason {
    pub const AS_EXPECTED: &str = "AsExpected";
    pub const INVALID_SPEC: &str = "InvalidSpec";
    pub const IMMUTABLE_FIELD: &str = "ImmutableField";
    pub const NAME_TAKEN: &str = "NameTaken";
    pub const APPLY_FAILED: &str = "ApplyFailed";
    /// A Secret that the spec names is not there or cannot be used.
    pub const SECRET_UNUSABLE: &str = "SecretUnusable";
    /// Brokers still run what was asked for before.
    pub const ROLLING_OUT: &str = "RollingOut";
    /// Of the event when the operator has made the administrator's Secret.
    pub const ADMINISTRATOR_CREATED: &str = "AdministratorCreated";
    pub const BROKERS_NOT_READY: &str = "BrokersNotReady";
    pub const NO_LEADER: &str = "NoLeader";
    pub const NO_WRITE_QUORUM: &str = "NoWriteQuorum";
    pub const SINGLE_REPLICA: &str = "SingleReplica";
    pub const TOO_FEW_REPLICAS: &str = "TooFewReplicas";
    pub const UNSHIPPED_TAIL: &str = "UnshippedTail";
    pub const TAIL_PUT_ASIDE: &str = "TailPutAside";
    pub const ELECTION_BLOCKED: &str = "ElectionBlocked";
}
