//! The protocols a Mainstay broker speaks, generated from the files in `proto/`.
//!
//! - [`rocketmq`]: the client API of Apache RocketMQ 5; names and numbers are the wire contract.
//! - [`replication`]: between the replicas of one group.
//! - [`control`]: from the operator and the command line.
//! - [`signature`]: how clients sign their calls.

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

pub mod signature;

use std::fmt;

pub use generated::apache::rocketmq::v2 as rocketmq;
pub use generated::mainstay::control::v1 as control;
pub use generated::mainstay::replication::v1 as replication;

impl fmt::Debug for control::UserSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::control::{CreateUserRequest, StoredUser, UserSecret};

    #[test]
    fn secrets_of_users_are_not_printed() {
        let secret = Some(UserSecret { text: "s3cret-s3cret".to_owned() });
        let created = format!("{:?}", CreateUserRequest { user: None, secret: secret.clone() });
        let stored = format!("{:?}", StoredUser { user: None, secret });
        assert!(!created.contains("s3cret") && !stored.contains("s3cret"), "{created} {stored}");
    }
}
