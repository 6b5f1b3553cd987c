//! The table: for each kind of group and each fault what may be lost of what was acknowledged.
//!
//! The tests take from here what they allow, and the document is written from here: neither can say other than the other.

use mainstay_sim::{Blow, FlushType, Kind, Loss};

/// A way to run a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    SingleFlushAsync,
    SingleFlushSync,
    AsyncReplication,
    QuorumFlushAsync,
    QuorumFlushSync,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    ProcessKilled,
    PowerLostOneNode,
    PowerLostAllNodes,
    DiskLost,
    LeaderCutOff,
}

pub(crate) const ROWS: [Row; 5] = [
    Row::SingleFlushAsync,
    Row::SingleFlushSync,
    Row::AsyncReplication,
    Row::QuorumFlushAsync,
    Row::QuorumFlushSync,
];

pub(crate) const COLUMNS: [Column; 5] = [
    Column::ProcessKilled,
    Column::PowerLostOneNode,
    Column::PowerLostAllNodes,
    Column::DiskLost,
    Column::LeaderCutOff,
];

impl Row {
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::SingleFlushAsync => "1 replica, flush Async",
            Self::SingleFlushSync => "1 replica, flush Sync",
            Self::AsyncReplication => "Async replication (flush Async)",
            Self::QuorumFlushAsync => "Sync or Raft, W>=2, flush Async",
            Self::QuorumFlushSync => "Sync or Raft, W>=2, flush Sync",
        }
    }

    /// The modes that this row is about: each is tried.
    pub(crate) const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::SingleFlushAsync | Self::SingleFlushSync => &[Kind::Single],
            Self::AsyncReplication => &[Kind::Async],
            Self::QuorumFlushAsync | Self::QuorumFlushSync => &[Kind::Sync, Kind::Raft],
        }
    }

    pub(crate) const fn flush(self) -> FlushType {
        match self {
            Self::SingleFlushAsync | Self::AsyncReplication | Self::QuorumFlushAsync => FlushType::Async,
            Self::SingleFlushSync | Self::QuorumFlushSync => FlushType::Sync,
        }
    }
}

impl Column {
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::ProcessKilled => "process killed",
            Self::PowerLostOneNode => "power lost, one node",
            Self::PowerLostAllNodes => "power lost, all nodes",
            Self::DiskLost => "one disk lost",
            Self::LeaderCutOff => "leader cut off",
        }
    }

    pub(crate) const fn blow(self) -> Blow {
        match self {
            Self::ProcessKilled => Blow::ProcessKilled,
            Self::PowerLostOneNode => Blow::PowerLostOneNode,
            Self::PowerLostAllNodes => Blow::PowerLostAllNodes,
            Self::DiskLost => Blow::DiskLost,
            Self::LeaderCutOff => Blow::LeaderCutOff,
        }
    }
}

/// One promise.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) row: Row,
    pub(crate) column: Column,
    /// What the test allows.
    pub(crate) loss: Loss,
    /// What becomes of messages that were acknowledged, for people.
    pub(crate) promise: &'static str,
    /// Where people see it.
    pub(crate) report: &'static str,
    /// The test function in `cells.rs`.
    pub(crate) test: &'static str,
}

/// The cell that a test is about.
pub(crate) fn cell(test: &str) -> &'static Cell {
    CELLS.iter().find(|cell| cell.test == test).unwrap_or_else(|| panic!("no cell names the test {test}"))
}

pub(crate) const CELLS: [Cell; 25] = [
    Cell {
        row: Row::SingleFlushAsync,
        column: Column::ProcessKilled,
        loss: Loss::Nothing,
        promise: "kept: what was written is in the page cache, which outlives the process",
        report: "restart counted by Kubernetes; unavailable until it is back",
        test: "single_flush_async_process_killed",
    },
    Cell {
        row: Row::SingleFlushAsync,
        column: Column::PowerLostOneNode,
        loss: Loss::FlushWindow,
        promise: "lost at most: what was acknowledged in the last flush interval (200 ms) and the time of two \
            fdatasyncs; older messages are kept",
        report: "the broker warns at its start that its log may lack its end; which messages those were \
            nobody can tell",
        test: "single_flush_async_power_lost_one_node",
    },
    Cell {
        row: Row::SingleFlushAsync,
        column: Column::PowerLostAllNodes,
        loss: Loss::FlushWindow,
        promise: "the same: there is one node",
        report: "the same",
        test: "single_flush_async_power_lost_all_nodes",
    },
    Cell {
        row: Row::SingleFlushAsync,
        column: Column::DiskLost,
        loss: Loss::Everything,
        promise: "lost: there was one copy; the broker starts empty on the new disk, under a new node id",
        report: "a new node id; its topics are gone as well, clients are told that they do not exist",
        test: "single_flush_async_disk_lost",
    },
    Cell {
        row: Row::SingleFlushAsync,
        column: Column::LeaderCutOff,
        loss: Loss::Unavailable,
        promise: "nothing is acknowledged as long as it lasts; everything is kept",
        report: "clients get timeouts, never an acknowledgement",
        test: "single_flush_async_leader_cut_off",
    },
    Cell {
        row: Row::SingleFlushSync,
        column: Column::ProcessKilled,
        loss: Loss::Nothing,
        promise: "kept",
        report: "restart counted by Kubernetes; unavailable until it is back",
        test: "single_flush_sync_process_killed",
    },
    Cell {
        row: Row::SingleFlushSync,
        column: Column::PowerLostOneNode,
        loss: Loss::Nothing,
        promise: "kept: it was on the disk before it was acknowledged",
        report: "unavailable until it is back",
        test: "single_flush_sync_power_lost_one_node",
    },
    Cell {
        row: Row::SingleFlushSync,
        column: Column::PowerLostAllNodes,
        loss: Loss::Nothing,
        promise: "kept: there is one node",
        report: "unavailable until it is back",
        test: "single_flush_sync_power_lost_all_nodes",
    },
    Cell {
        row: Row::SingleFlushSync,
        column: Column::DiskLost,
        loss: Loss::Everything,
        promise: "lost: there was one copy; the broker starts empty on the new disk, under a new node id",
        report: "a new node id; its topics are gone as well, clients are told that they do not exist",
        test: "single_flush_sync_disk_lost",
    },
    Cell {
        row: Row::SingleFlushSync,
        column: Column::LeaderCutOff,
        loss: Loss::Unavailable,
        promise: "nothing is acknowledged as long as it lasts; everything is kept",
        report: "clients get timeouts, never an acknowledgement",
        test: "single_flush_sync_leader_cut_off",
    },
    Cell {
        row: Row::AsyncReplication,
        column: Column::ProcessKilled,
        loss: Loss::TailSetAside,
        promise: "kept when the leader restarts before another one is promoted; a failover cuts off what had \
            not been shipped, which is kept in a quarantine file",
        report: "quarantined tails in status, condition `Quarantined` and event; `mainstay quarantine` shows \
            and republishes them",
        test: "async_replication_process_killed",
    },
    Cell {
        row: Row::AsyncReplication,
        column: Column::PowerLostOneNode,
        loss: Loss::FlushWindowAndTail,
        promise: "lost at most: the flush window of the old leader, as far as it had not been shipped; an \
            older tail that had not been shipped is in a quarantine file once the node is back",
        report: "quarantined tails in status, condition and event; the flush window is not counted, the \
            broker warns that its log may lack its end",
        test: "async_replication_power_lost_one_node",
    },
    Cell {
        row: Row::AsyncReplication,
        column: Column::PowerLostAllNodes,
        loss: Loss::FlushWindowAndTail,
        promise: "lost at most: the flush window; a tail that had not been shipped is in a quarantine file if \
            another leader was promoted",
        report: "quarantined tails in status, condition and event; the flush window is not counted, the \
            broker warns that its log may lack its end",
        test: "async_replication_power_lost_all_nodes",
    },
    Cell {
        row: Row::AsyncReplication,
        column: Column::DiskLost,
        loss: Loss::TailWithDisk,
        promise: "lost at most: what lay on the lost disk only, because it had not been shipped; the others \
            serve on, with one replica less",
        report: "nobody can count it afterwards; the new volume's broker says that it waits to be taken in, an \
            event `ReplacingMember` that the operator puts it in the place of the lost node",
        test: "async_replication_disk_lost",
    },
    Cell {
        row: Row::AsyncReplication,
        column: Column::LeaderCutOff,
        loss: Loss::TailSetAside,
        promise: "the old leader stops when its lease ends; what it acknowledged until then and could not ship \
            is in a quarantine file once it is back",
        report: "quarantined tails in status, condition `Quarantined` and event; `mainstay quarantine` shows \
            and republishes them",
        test: "async_replication_leader_cut_off",
    },
    Cell {
        row: Row::QuorumFlushAsync,
        column: Column::ProcessKilled,
        loss: Loss::Nothing,
        promise: "kept",
        report: "leader and epoch in the group's status, an event for the failover",
        test: "quorum_flush_async_process_killed",
    },
    Cell {
        row: Row::QuorumFlushAsync,
        column: Column::PowerLostOneNode,
        loss: Loss::Nothing,
        promise: "kept: the other replicas have it; the node catches up before it votes or leads again",
        report: "the broker warns at its start that its log may lack what it acknowledged, and that it elects \
            nobody until it has caught up",
        test: "quorum_flush_async_power_lost_one_node",
    },
    Cell {
        row: Row::QuorumFlushAsync,
        column: Column::PowerLostAllNodes,
        loss: Loss::FlushWindow,
        promise: "lost at most: what was acknowledged in the last flush interval (200 ms) and the time of two \
            fdatasyncs; older messages are kept; replicas never diverge",
        report: "each broker warns at its start that its log may lack what it acknowledged; the group elects \
            only once all are back, and the most advanced",
        test: "quorum_flush_async_power_lost_all_nodes",
    },
    Cell {
        row: Row::QuorumFlushAsync,
        column: Column::DiskLost,
        loss: Loss::Nothing,
        promise: "kept on the others, which serve on with one replica less until the operator has put the new \
            volume in the place of the lost one and it is refilled",
        report: "the new volume's broker says that it waits to be taken in; an event `ReplacingMember` or \
            `MembershipNamed`",
        test: "quorum_flush_async_disk_lost",
    },
    Cell {
        row: Row::QuorumFlushAsync,
        column: Column::LeaderCutOff,
        loss: Loss::Nothing,
        promise: "kept; the old leader cannot acknowledge, the others elect a new one",
        report: "leader and epoch in the group's status, an event for the failover",
        test: "quorum_flush_async_leader_cut_off",
    },
    Cell {
        row: Row::QuorumFlushSync,
        column: Column::ProcessKilled,
        loss: Loss::Nothing,
        promise: "kept",
        report: "leader and epoch in the group's status, an event for the failover",
        test: "quorum_flush_sync_process_killed",
    },
    Cell {
        row: Row::QuorumFlushSync,
        column: Column::PowerLostOneNode,
        loss: Loss::Nothing,
        promise: "kept",
        report: "leader and epoch in the group's status, an event for the failover",
        test: "quorum_flush_sync_power_lost_one_node",
    },
    Cell {
        row: Row::QuorumFlushSync,
        column: Column::PowerLostAllNodes,
        loss: Loss::Nothing,
        promise: "kept: every acknowledged message was on the disks of a write quorum",
        report: "unavailable until a majority is back",
        test: "quorum_flush_sync_power_lost_all_nodes",
    },
    Cell {
        row: Row::QuorumFlushSync,
        column: Column::DiskLost,
        loss: Loss::Nothing,
        promise: "kept on the others, which serve on with one replica less until the operator has put the new \
            volume in the place of the lost one and it is refilled",
        report: "the new volume's broker says that it waits to be taken in; an event `ReplacingMember` or \
            `MembershipNamed`",
        test: "quorum_flush_sync_disk_lost",
    },
    Cell {
        row: Row::QuorumFlushSync,
        column: Column::LeaderCutOff,
        loss: Loss::Nothing,
        promise: "kept; the old leader cannot acknowledge, the others elect a new one",
        report: "leader and epoch in the group's status, an event for the failover",
        test: "quorum_flush_sync_leader_cut_off",
    },
];
