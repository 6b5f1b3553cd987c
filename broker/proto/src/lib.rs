//! The protocols a Mainstay broker speaks, generated from the files in `proto/`.
//!
//! - [`rocketmq`]: the client API of Apache RocketMQ 5; names and numbers are the wire contract.
//! - [`replication`]: between the replicas of one group.
//! - [`control`]: from the operator and the command line.

#[allow(missing_debug_implementations, clippy::all, unreachable_pub)]
mod generated {
    pub mod apache {
        pub mod rocketmq {
            pub mod v2 {
                tonic::include_proto!("apache.rocketmq.v2");
            }
        }
    }
    pub mod mainstay {
        pub mod replication {
            pub mod v1 {
                tonic::include_proto!("mainstay.replication.v1");
            }
        }
        pub mod control {
            pub mod v1 {
                tonic::include_proto!("mainstay.control.v1");
            }
        }
    }
}

pub use generated::apache::rocketmq::v2 as rocketmq;
pub use generated::mainstay::control::v1 as control;
pub use generated::mainstay::replication::v1 as replication;
