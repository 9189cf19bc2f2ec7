//! The MQTT broker, versions 3.1, 3.1.1 and 5 (OASIS MQTT 3.1.1 and 5.0; spec: brokers and mapping, sections 1 and 2).
//!
//! `codec` turns bytes into packets and back. `broker` is the state machine: sessions, subscriptions, retained
//! messages, acknowledgements; no socket, no clock, no thread. `server` runs it on sockets. `store` keeps what has to
//! survive the process.

pub mod broker;
pub mod codec;
pub mod packet;
pub mod server;
pub mod store;
pub mod topics;
