//! Stories by hand, told with the same world.

use crate::options::Options;
use crate::world::{SECOND, World};

/// Name and story.
pub(crate) const ALL: [(&str, fn(bool)); 1] = [("two phones, nothing fails", two_phones)];

fn two_phones(tracing: bool) {
    let mut world = World::new(1, Options::calm(), tracing);
    world.found();
    let doc = world.truth.docs[0].0;
    for i in 0..5 {
        world.edit_key(0, doc, format!("a{i}"));
        world.pump_phone(0);
        world.run_for(3 * SECOND);
    }
    world.finish();
}
