//! Clients in the world: who there is, what reaches them and what they ask.

use super::{Happening, World, end};
use mainstay_messaging::TransactionId;

use crate::client::{
    Admin, Client, Consumer, Effect, Input, Producer, Scene, Subscribed, groups, subscriptions,
};
use crate::network::End;
use crate::time::MILLI;
use crate::wire::{Reply, Request, RequestId};

impl World {
    pub(super) fn hire_clients(&mut self) {
        let subscriptions = self.subscriptions();
        self.clients.push(Client::Admin(Admin::new(&self.plan.topics, &groups(&subscriptions))));
        for (topic, kind) in self.plan.topics.iter().enumerate() {
            for number in 0..2 {
                let name = format!("producer-{topic}-{number}");
                self.clients.push(Client::Producer(Box::new(Producer::new(
                    name,
                    topic,
                    *kind,
                    self.plan.producer_gap,
                    self.plan.heaviness,
                ))));
            }
        }
        for subscribed in &subscriptions {
            for number in 0..subscribed.group.consumers {
                let name = format!("consumer-{}-{}-{number}", subscribed.topic, subscribed.group.name);
                let consumer = Consumer::new(name, subscribed, self.plan.invisible_ms);
                self.clients.push(Client::Consumer(Box::new(consumer)));
            }
        }
        for client in 0..self.clients.len() {
            let after = self.rng.between(0, 500 * MILLI);
            self.after(after, Happening::ClientWakes { client });
        }
    }

    /// Who receives from what.
    pub(super) fn subscriptions(&self) -> Vec<Subscribed> {
        subscriptions(&self.plan.topics, self.plan.max_attempts)
    }

    /// The one who sent the message is asked what became of it, if it can be reached.
    pub(super) fn ask_producer(&mut self, node: usize, message_id: String, transaction: TransactionId) {
        let asked = self.clients.iter().position(|client| match client {
            Client::Producer(producer) => producer.has_sent(&message_id),
            Client::Admin(_) | Client::Consumer(_) => false,
        });
        let Some(client) = asked else { return };
        if let Some(delay) = self.network.call(end(node), End::Client(client), &mut self.rng) {
            self.after(delay, Happening::Check { client, message_id, transaction });
        }
    }

    pub(super) fn client(&mut self, client: usize, input: Input) {
        let mut effects = Vec::new();
        let mut scene = Scene {
            now: self.now,
            rng: &mut self.rng,
            nodes: self.machines.len(),
            next_request: &mut self.next_request,
            effects: &mut effects,
        };
        self.clients[client].take(input, &mut scene);
        self.trace.mix(effects.len() as u64);
        for effect in effects {
            match effect {
                Effect::Wake { after } => self.after(after, Happening::ClientWakes { client }),
                Effect::Late { request, after } => {
                    self.after(after, Happening::ClientLate { client, request });
                }
                Effect::Ask { node, request, command, wait } => {
                    let asked = Request { id: request, client, command: *command, wait };
                    self.send_request(client, node, asked);
                }
            }
        }
    }

    fn send_request(&mut self, client: usize, node: usize, request: Request) {
        let Some(delay) = self.network.call(End::Client(client), end(node), &mut self.rng) else { return };
        if self.machines[node].is_up() {
            self.after(delay, Happening::Ask { node, request });
            return;
        }
        // The connection is refused.
        let (request, reply) = (request.id, Reply::NotHere { leader: None });
        self.after(2 * delay, Happening::Answer { client, request, reply });
    }

    pub(super) fn answer(&mut self, client: usize, request: RequestId, reply: Reply) {
        if let Reply::Done(mainstay_messaging::Outcome::Published { .. }) = &reply {
            self.oracle.figures.acknowledged += 1;
        }
        self.client(client, Input::Reply { request, reply });
    }

    pub(super) fn client_late(&mut self, client: usize, request: RequestId) {
        self.asked.remove(&request);
        self.client(client, Input::Late(request));
    }
}
