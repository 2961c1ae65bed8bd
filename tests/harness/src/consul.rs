//! A Consul agent for tests: it speaks Consul's HTTP API as faithfully as an adapter can tell, and fails on demand.
//!
//! Reading order: `rows` (what is in a catalogue, as JSON), `catalogue` (its indexes), `query` (what a request asks for), `world` and `read`
//! (the servers: what is answered), `answer` (blocking, faults), `listener` (connections). [`ConsulAgent`] is the handle that a test has,
//! [`Instance`] what it registers, [`Datacenter`] where.
//!
//! [`RealConsul`] is a real one, for those who have its program (`CONSUL_BIN`): the same scenarios show what differs.

mod access;
mod agent;
mod answer;
mod catalogue;
mod datacenter;
mod fault;
mod instance;
mod listener;
mod query;
mod read;
mod real;
mod reply;
mod rows;
mod tls;
mod transaction;
mod world;

pub use self::{
    access::Grant,
    agent::{ConsulAgent, ConsulBuilder},
    answer::ConsulRequest,
    datacenter::{Datacenter, Snapshot},
    fault::Fault,
    instance::Instance,
    real::{RealConsul, RealConsulBuilder},
    rows::Health,
    tls::Pem,
    world::{Edition, Leader, ServiceQueries},
};
