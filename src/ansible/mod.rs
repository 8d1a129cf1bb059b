//! Ansible's side: args in, one result out. It knows nothing of Docker or Cassandra.

pub mod args;
mod bound;
mod coerce;
mod login;
pub mod options;
mod path;
pub mod protocol;
mod python;
pub mod request;
pub mod result;
mod rules;
pub mod spec;
mod values;
