//! Whether there is space for what will be appended: told before anything fails.

use std::sync::atomic::{AtomicU8, Ordering};

/// Space for the log. Whoever is told `Low` should stop taking messages and go on with what is small, above all with
/// what lets old segments be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Space {
    #[default]
    Plenty,
    /// Less than two segments and a half are left, those that are made already included. What is small still fits: into
    /// the newest segment, and into the one that is ready to follow it.
    Low,
    /// No segment is ready, and none can be made. What does not fit into the newest one waits; nothing fails, and the
    /// log goes on by itself when there is space.
    Exhausted,
}

impl Space {
    /// What `available` bytes mean, of which some may be a segment that is `ready`. Between the bounds it stays as it
    /// `was`, so that it does not flutter.
    pub(crate) fn judge(was: Self, available: Option<u64>, segment: u64, ready: bool, refused: bool) -> Self {
        if refused && !ready {
            return Self::Exhausted;
        }
        match available {
            Some(bytes) if bytes < segment.saturating_mul(5) / 2 => Self::Low,
            Some(bytes) if bytes < segment.saturating_mul(3) && was != Self::Plenty => Self::Low,
            Some(_) => Self::Plenty,
            None if refused => Self::Low,
            None => Self::Plenty,
        }
    }
}

/// A [`Space`] that one thread sets and others read.
#[derive(Debug, Default)]
pub(crate) struct SpaceCell(AtomicU8);

impl SpaceCell {
    pub(crate) fn set(&self, space: Space) {
        self.0.store(space as u8, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Space {
        match self.0.load(Ordering::Relaxed) {
            0 => Space::Plenty,
            1 => Space::Low,
            _ => Space::Exhausted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_low_before_it_is_exhausted_and_does_not_flutter() {
        let judge = |was, available, ready, refused| Space::judge(was, Some(available), 100, ready, refused);
        assert_eq!(judge(Space::Plenty, 250, true, false), Space::Plenty);
        assert_eq!(judge(Space::Plenty, 249, true, false), Space::Low);
        assert_eq!(judge(Space::Low, 299, true, false), Space::Low);
        assert_eq!(judge(Space::Low, 300, true, false), Space::Plenty);
        assert_eq!(judge(Space::Low, 90, false, true), Space::Exhausted);
        assert_eq!(judge(Space::Exhausted, 110, true, false), Space::Low);
        // Where free space is not known, only what was refused tells.
        assert_eq!(Space::judge(Space::Plenty, None, 100, true, true), Space::Low);
        assert_eq!(Space::judge(Space::Exhausted, None, 100, true, false), Space::Plenty);
    }
}
