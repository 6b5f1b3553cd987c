//! How long a message that was not consumed waits for its next delivery.

use std::time::Duration;

/// Waits of a customized policy at most.
pub const MAX_RETRY_DELAYS: usize = 128;
/// The longest wait there is, in milliseconds: the longest that a consumer may ask for as well.
pub const MAX_RETRY_DELAY_MS: u64 = 12 * 3600 * 1000;

/// Waits of the default policy: those of the reference's delay levels, in seconds.
const DEFAULT_DELAYS_S: [u64; 18] =
    [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];

/// Deliveries of a message by default: one, and 16 retries.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 17;

/// A consumer group's waits between the deliveries of a message. All times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RetryPolicy {
    /// The first wait after the first delivery, and so on; the last for all that follow.
    Customized(Vec<u64>),
    /// `initial`, then `multiplier` times more each time, up to `max`.
    Exponential { initial: u64, max: u64, multiplier: u32 },
}

/// Why a retry policy is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryPolicyError {
    #[error("retry delays: there are {0}, allowed are 1 to {MAX_RETRY_DELAYS}")]
    Count(usize),
    #[error("retry delay of {0} ms is above {MAX_RETRY_DELAY_MS} ms")]
    TooLong(u64),
    #[error("retry multiplier is {0}, allowed are 1 to 100")]
    Multiplier(u32),
    #[error("the first retry delay of {initial} ms is above the longest of {max} ms")]
    Order { initial: u64, max: u64 },
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::Customized(DEFAULT_DELAYS_S.iter().map(|seconds| seconds * 1000).collect())
    }
}

impl RetryPolicy {
    /// # Errors
    /// When it is out of bounds.
    pub fn check(&self) -> Result<(), RetryPolicyError> {
        let longest = match self {
            Self::Customized(delays) => {
                if delays.is_empty() || delays.len() > MAX_RETRY_DELAYS {
                    return Err(RetryPolicyError::Count(delays.len()));
                }
                delays.iter().copied().max().unwrap_or(0)
            }
            Self::Exponential { initial, max, multiplier } => {
                if !(1..=100).contains(multiplier) {
                    return Err(RetryPolicyError::Multiplier(*multiplier));
                }
                if initial > max {
                    return Err(RetryPolicyError::Order { initial: *initial, max: *max });
                }
                *max
            }
        };
        if longest > MAX_RETRY_DELAY_MS { Err(RetryPolicyError::TooLong(longest)) } else { Ok(()) }
    }

    /// The wait after a delivery, the first being number 1.
    pub fn delay(&self, attempt: u32) -> Duration {
        let before = attempt.saturating_sub(1);
        Duration::from_millis(match self {
            Self::Customized(delays) => {
                delays.get(before as usize).or_else(|| delays.last()).copied().unwrap_or(0)
            }
            Self::Exponential { initial, max, multiplier } => {
                u64::from(*multiplier).saturating_pow(before).saturating_mul(*initial).min(*max)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(policy: &RetryPolicy, attempt: u32) -> u64 {
        policy.delay(attempt).as_secs()
    }

    #[test]
    fn the_default_grows_from_a_second_to_two_hours_and_stays_there() {
        let policy = RetryPolicy::default();
        let waits: Vec<u64> = (1..=DEFAULT_MAX_ATTEMPTS).map(|attempt| seconds(&policy, attempt)).collect();
        assert_eq!(waits[..4], [1, 5, 10, 30]);
        assert!(waits.is_sorted());
        assert_eq!((seconds(&policy, 18), seconds(&policy, 1000)), (7200, 7200));
        assert_eq!(policy.check(), Ok(()));
    }

    #[test]
    fn an_exponential_policy_multiplies_up_to_its_longest() {
        let policy = RetryPolicy::Exponential { initial: 5000, max: 60_000, multiplier: 2 };
        assert_eq!([1, 2, 3, 4, 5, 99].map(|attempt| seconds(&policy, attempt)), [5, 10, 20, 40, 60, 60]);
        let still = RetryPolicy::Exponential { initial: 0, max: 0, multiplier: 1 };
        assert_eq!((still.check(), still.delay(u32::MAX)), (Ok(()), Duration::ZERO));
    }

    #[test]
    fn policies_have_bounds() {
        let exponential =
            |initial, max, multiplier| RetryPolicy::Exponential { initial, max, multiplier }.check();
        assert_eq!(RetryPolicy::Customized(vec![]).check(), Err(RetryPolicyError::Count(0)));
        assert_eq!(RetryPolicy::Customized(vec![1; 129]).check(), Err(RetryPolicyError::Count(129)));
        let long = MAX_RETRY_DELAY_MS + 1;
        assert_eq!(RetryPolicy::Customized(vec![1, long]).check(), Err(RetryPolicyError::TooLong(long)));
        assert_eq!(exponential(1, long, 2), Err(RetryPolicyError::TooLong(long)));
        assert_eq!(exponential(1, 2, 0), Err(RetryPolicyError::Multiplier(0)));
        assert_eq!(exponential(3, 2, 1), Err(RetryPolicyError::Order { initial: 3, max: 2 }));
    }
}
