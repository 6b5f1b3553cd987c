//! How consumer groups order and repeat deliveries, as people write and read it.

use std::time::Duration;

use clap::{Args, ValueEnum};
use mainstay_proto::control::retry_policy::Policy;
use mainstay_proto::control::{CustomizedRetry, DeliveryOrder, ExponentialRetry, RetryPolicy};

use crate::times;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// In about the order they were stored; what failed comes back later.
    Concurrent,
    /// Messages of one message group one after the other.
    Fifo,
}

impl Order {
    pub(crate) fn wire(self) -> i32 {
        match self {
            Self::Concurrent => DeliveryOrder::Concurrent,
            Self::Fifo => DeliveryOrder::InOrder,
        }
        .into()
    }

    pub(crate) fn shown(order: DeliveryOrder) -> &'static str {
        match order {
            DeliveryOrder::InOrder => "fifo",
            DeliveryOrder::Concurrent | DeliveryOrder::Unspecified => "concurrent",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Retries {
    /// Waits before the second, third, ... delivery: `1s,5s,10m`. The last is for all that follow. Default: growing from
    /// a second to two hours.
    #[arg(long, value_delimiter = ',', value_parser = times::duration, conflicts_with = "retry_exponential")]
    retry_delays: Vec<Duration>,
    /// First wait, longest wait, and how often longer each is than the one before: `5s,2h,2`.
    #[arg(long, value_parser = parse_exponential)]
    retry_exponential: Option<ExponentialRetry>,
}

impl Retries {
    /// `None` leaves it to the broker.
    pub(crate) fn policy(&self) -> Option<RetryPolicy> {
        let policy = match (&self.retry_exponential, self.retry_delays.as_slice()) {
            (Some(exponential), _) => Policy::Exponential(*exponential),
            (None, []) => return None,
            (None, delays) => Policy::Customized(CustomizedRetry {
                delays_ms: delays.iter().copied().map(millis).collect(),
            }),
        };
        Some(RetryPolicy { policy: Some(policy) })
    }
}

fn parse_exponential(text: &str) -> Result<ExponentialRetry, String> {
    let expected = || format!("'{text}' is not first wait, longest wait and factor, such as 5s,2h,2");
    let [initial, max, multiplier] = text.split(',').collect::<Vec<_>>()[..] else { return Err(expected()) };
    Ok(ExponentialRetry {
        initial_ms: millis(times::duration(initial)?),
        max_ms: millis(times::duration(max)?),
        multiplier: multiplier.trim().parse().map_err(|_| expected())?,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A policy as the flags above take it.
pub(crate) fn shown(policy: Option<&RetryPolicy>) -> String {
    match policy.and_then(|policy| policy.policy.as_ref()) {
        None => "default".to_owned(),
        Some(Policy::Customized(delays)) => {
            delays.delays_ms.iter().map(|ms| times::length(*ms)).collect::<Vec<_>>().join(",")
        }
        Some(Policy::Exponential(ExponentialRetry { initial_ms, max_ms, multiplier })) => {
            format!("exponential {},{},{multiplier}", times::length(*initial_ms), times::length(*max_ms))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        retries: Retries,
    }

    fn policy(arguments: &[&str]) -> Result<Option<RetryPolicy>, clap::Error> {
        Line::try_parse_from([&["x"], arguments].concat()).map(|line| line.retries.policy())
    }

    #[test]
    fn policies_as_people_write_them() {
        assert_eq!(policy(&[]).unwrap(), None);
        let list = policy(&["--retry-delays", "1s,500ms,2h"]).unwrap();
        assert_eq!(shown(list.as_ref()), "1s,500ms,2h");
        let growing = policy(&["--retry-exponential", "5s,2h,2"]).unwrap();
        assert_eq!(shown(growing.as_ref()), "exponential 5s,2h,2");
        assert_eq!(shown(None), "default");
        for bad in [
            &["--retry-delays", "1s,x"][..],
            &["--retry-exponential", "5s,2h"],
            &["--retry-exponential", "5s,2h,x"],
            &["--retry-exponential", "5s,2h,2", "--retry-delays", "1s"],
        ] {
            assert!(policy(bad).is_err(), "{bad:?}");
        }
    }
}
