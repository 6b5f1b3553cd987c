//! Compiles the protocol files with protox, so that no protoc is needed.

use std::error::Error;

const PROTOS: [&str; 4] = [
    "apache/rocketmq/v2/definition.proto",
    "apache/rocketmq/v2/service.proto",
    "mainstay/replication/v1/replication.proto",
    "mainstay/control/v1/admin.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".apache.rocketmq.v2.Message.body")
        .bytes(".mainstay.replication.v1.AppendRequest.batches")
        .bytes(".mainstay.replication.v1.RefillBatches.batches")
        .bytes(".mainstay.replication.v1.RefillRequest.snapshot")
        .bytes(".mainstay.replication.v1.RefillBegin.log_base")
        .bytes(".mainstay.replication.v1.RefillBegin.snapshot_base")
        .bytes(".mainstay.control.v1.PeekedMessage.body")
        .skip_debug([".mainstay.control.v1.UserSecret"])
        .bytes(".mainstay.control.v1.ProducerQuestion.message")
        .compile_fds(descriptors)?;
    Ok(())
}
