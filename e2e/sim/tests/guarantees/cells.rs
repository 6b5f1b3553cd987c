//! One test for each cell of the table.

use crate::prove::prove;

#[test]
fn single_flush_async_process_killed() {
    prove("single_flush_async_process_killed");
}

#[test]
fn single_flush_async_power_lost_one_node() {
    prove("single_flush_async_power_lost_one_node");
}

#[test]
fn single_flush_async_power_lost_all_nodes() {
    prove("single_flush_async_power_lost_all_nodes");
}

#[test]
fn single_flush_async_disk_lost() {
    prove("single_flush_async_disk_lost");
}

#[test]
fn single_flush_async_leader_cut_off() {
    prove("single_flush_async_leader_cut_off");
}

#[test]
fn single_flush_sync_process_killed() {
    prove("single_flush_sync_process_killed");
}

#[test]
fn single_flush_sync_power_lost_one_node() {
    prove("single_flush_sync_power_lost_one_node");
}

#[test]
fn single_flush_sync_power_lost_all_nodes() {
    prove("single_flush_sync_power_lost_all_nodes");
}

#[test]
fn single_flush_sync_disk_lost() {
    prove("single_flush_sync_disk_lost");
}

#[test]
fn single_flush_sync_leader_cut_off() {
    prove("single_flush_sync_leader_cut_off");
}

#[test]
fn async_replication_process_killed() {
    prove("async_replication_process_killed");
}

#[test]
fn async_replication_power_lost_one_node() {
    prove("async_replication_power_lost_one_node");
}

#[test]
fn async_replication_power_lost_all_nodes() {
    prove("async_replication_power_lost_all_nodes");
}

#[test]
fn async_replication_disk_lost() {
    prove("async_replication_disk_lost");
}

#[test]
fn async_replication_leader_cut_off() {
    prove("async_replication_leader_cut_off");
}

#[test]
fn quorum_flush_async_process_killed() {
    prove("quorum_flush_async_process_killed");
}

#[test]
fn quorum_flush_async_power_lost_one_node() {
    prove("quorum_flush_async_power_lost_one_node");
}

#[test]
fn quorum_flush_async_power_lost_all_nodes() {
    prove("quorum_flush_async_power_lost_all_nodes");
}

#[test]
fn quorum_flush_async_disk_lost() {
    prove("quorum_flush_async_disk_lost");
}

#[test]
fn quorum_flush_async_leader_cut_off() {
    prove("quorum_flush_async_leader_cut_off");
}

#[test]
fn quorum_flush_sync_process_killed() {
    prove("quorum_flush_sync_process_killed");
}

#[test]
fn quorum_flush_sync_power_lost_one_node() {
    prove("quorum_flush_sync_power_lost_one_node");
}

#[test]
fn quorum_flush_sync_power_lost_all_nodes() {
    prove("quorum_flush_sync_power_lost_all_nodes");
}

#[test]
fn quorum_flush_sync_disk_lost() {
    prove("quorum_flush_sync_disk_lost");
}

#[test]
fn quorum_flush_sync_leader_cut_off() {
    prove("quorum_flush_sync_leader_cut_off");
}
