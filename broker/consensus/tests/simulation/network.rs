//! Which messages arrive, how often and when. Every link has a direction.

use crate::plan::{MILLI, Plan};
use crate::rng::Rng;

pub(crate) struct Network {
    blocked: Vec<Vec<bool>>,
    loss: u64,
    duplication: u64,
    delay: u64,
    /// Links keep the order of their messages, as a stream does.
    ordered: bool,
    free_at: Vec<Vec<u64>>,
}

impl Network {
    pub(crate) fn new(nodes: usize, plan: &Plan) -> Self {
        Self {
            blocked: vec![vec![false; nodes]; nodes],
            loss: plan.loss,
            duplication: plan.duplication,
            delay: plan.delay,
            ordered: plan.loss == 0 && plan.duplication == 0,
            free_at: vec![vec![0; nodes]; nodes],
        }
    }

    pub(crate) fn heal(&mut self) {
        self.blocked.iter_mut().flatten().for_each(|blocked| *blocked = false);
    }

    /// A well-behaved network.
    pub(crate) fn calm_down(&mut self) {
        self.heal();
        (self.loss, self.duplication, self.delay, self.ordered) = (0, 0, 2 * MILLI, true);
    }

    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.blocked[from][to] = true;
    }

    /// After how long each copy of a message arrives.
    pub(crate) fn delays(&mut self, from: usize, to: usize, now: u64, rng: &mut Rng) -> Vec<u64> {
        if self.blocked[from][to] || rng.chance(self.loss) {
            return Vec::new();
        }
        let copies = if rng.chance(self.duplication) { 2 } else { 1 };
        let mut delays = Vec::with_capacity(copies);
        for _ in 0..copies {
            let mut delay = rng.between(self.delay / 10, self.delay);
            if !self.ordered && rng.chance(20) {
                // A straggler from another time.
                delay = delay.saturating_add(rng.between(0, 3000 * MILLI));
            }
            if self.ordered {
                let free_at = &mut self.free_at[from][to];
                *free_at = (*free_at).max(now + delay);
                delay = *free_at - now;
            }
            delays.push(delay);
        }
        delays
    }
}
