//! Tests of the pack codec. Documents come from Automerge itself.

mod corpus;
mod hostile;
mod roundtrip;
