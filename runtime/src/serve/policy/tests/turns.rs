use proptest::prelude::*;

use crate::{
    channel::{
        shape::Shape,
        template::{Segment, Template},
    },
    message::facts::Turns,
    serve::policy::{
        parts::{best_first, parts_of, rank},
        turns::{Choice, Rotation},
    },
    transport::durable::{
        contract::{QueueSpec, Take},
        look::DeadLetterBounds,
        task::QueueName,
    },
};

use super::*;

const PRIORITY: Segment = Segment::parameter("priority", Shape::OneOf(&["high", "normal", "low"]));
const REGION: Segment = Segment::parameter("region", Shape::OneOf(&["eu", "us"]));
static IMAGES: [Segment; 3] = [Segment::literal("tasks"), Segment::literal("images"), PRIORITY];
static REGIONS: [Segment; 3] = [Segment::literal("mail"), REGION, PRIORITY];
static TENANTS: [Segment; 3] = [Segment::literal("mail"), Segment::parameter("tenant", Shape::Text), PRIORITY];
static ONE: [Segment; 1] = [Segment::literal("jobs")];
const STRICT: Turns = Turns::Strict("priority");
const WEIGHTED: Turns = Turns::Weighted("priority", &[6, 3, 1]);

fn images() -> Template {
    Template::new("tasks:images:<priority>", &IMAGES)
}

fn regions() -> Template {
    Template::new("mail:<region>:<priority>", &REGIONS)
}

fn parts(template: &Template, turns: Turns) -> Vec<Arc<str>> {
    parts_of(template, turns).unwrap()
}

fn rotation(template: &Template, turns: Turns) -> Rotation {
    let name = QueueName { template: template.text(), namespace: "".into() };
    let lease = Duration::from_secs(30);
    let parts = parts(template, turns);
    let queue = QueueSpec { name, parts, lease, at_most_once: false, dead: DeadLetterBounds::DEFAULT, results: None };
    Rotation::new(&queue, template, turns)
}

/// What waits in each part.
#[derive(Clone, Debug)]
struct Waiting(Vec<usize>);

impl Waiting {
    /// What a server hands out, as indices into the parts.
    fn take(&mut self, take: &Take) -> Vec<usize> {
        let mut taken = Vec::new();
        let limits = take.order.iter().copied().chain(take.order.iter().map(|(part, _)| (*part, usize::MAX)));
        let mut some = |part: usize, limit: usize, want: usize| {
            let count = limit.min(want - taken.len()).min(self.0[part]);
            self.0[part] -= count;
            taken.extend(std::iter::repeat_n(part, count));
        };
        for (part, limit) in limits {
            some(part, limit, take.want);
        }
        for (part, _) in &take.order[..take.further.0] {
            some(*part, usize::MAX, take.want + take.further.1);
        }
        taken
    }
}

fn entries(parts: &[Arc<str>], taken: &[usize]) -> Vec<Entry> {
    taken.iter().map(|&part| entry(&parts[part], Record::default())).collect()
}

fn channels(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.at.channel).collect()
}

#[test]
fn the_parts_of_a_queue_are_its_combinations_the_best_first() {
    let images = images();
    assert_eq!(parts(&images, STRICT), ["tasks:images:high", "tasks:images:normal", "tasks:images:low"].map(Arc::from));
    let of_regions = ["mail:eu:high", "mail:us:high", "mail:eu:normal", "mail:us:normal", "mail:eu:low", "mail:us:low"];
    assert_eq!(parts(&regions(), STRICT), of_regions.map(Arc::from));
    assert_eq!(&*parts(&regions(), Turns::Equal)[1], "mail:eu:normal");
    assert_eq!(parts(&Template::new("jobs", &ONE), Turns::Equal), [Arc::from("jobs")]);
    let tenants = Template::new("mail:<tenant>:<priority>", &TENANTS);
    assert_eq!(parts_of(&tenants, STRICT), None);
    let given = ["mail:a:low", "mail:b%3Ac:high", "mail:a:high", "mail:a:low"].map(Arc::from).to_vec();
    let sorted = ["mail:b%3Ac:high", "mail:a:high", "mail:a:low"].map(Arc::from);
    assert_eq!(best_first(given, &tenants, STRICT), sorted);
    assert_eq!(rank("mail:a:other", &tenants, STRICT), usize::MAX);
}

#[test]
fn strict_order_takes_nothing_worse_while_something_better_waits() {
    let mut rotation = rotation(&images(), STRICT);
    let look = rotation.look(8, &[]);
    assert_eq!((look.order.as_slice(), look.want, look.further), (&[(0, 8), (1, 8), (2, 8)][..], 8, (0, 0)));
    assert_eq!(Waiting(vec![3, 1, 9]).take(&look), [0, 0, 0, 1, 2, 2, 2, 2]);
}

#[test]
fn what_a_blocked_read_brought_starts_behind_what_is_better_or_goes_back() {
    let parts = parts(&images(), STRICT);
    let mut rotation = rotation(&images(), STRICT);
    for (waiting, start, back) in [
        // The places are there for all.
        ([1, 0, 9], vec![0, 2], vec![]),
        ([0, 0, 0], vec![2], vec![]),
        // The better ones fill them.
        ([2, 0, 0], vec![0, 0], vec![2]),
        ([9, 9, 9], vec![0, 0], vec![2]),
        ([1, 1, 0], vec![0, 1], vec![2]),
        // Its own part has no further place.
        ([0, 0, 9], vec![2, 2], vec![]),
    ] {
        let brought = entries(&parts, &[2]);
        let look = rotation.look(2, &brought);
        let taken = Waiting(waiting.to_vec()).take(&look);
        let choice = rotation.choose(2, brought, entries(&parts, &taken));
        assert_eq!(channels(&choice.start), channels(&entries(&parts, &start)), "{waiting:?}");
        assert_eq!(channels(&choice.back), channels(&entries(&parts, &back)), "{waiting:?}");
    }
}

#[test]
fn equal_parts_take_turns_also_where_one_is_empty() {
    let parts = parts(&images(), Turns::Equal);
    let mut rotation = rotation(&images(), Turns::Equal);
    let mut waiting = Waiting(vec![0, 100, 100]);
    let mut served = vec![0; 3];
    for _ in 0..100 {
        let taken = waiting.take(&rotation.look(1, &[]));
        served[taken[0]] += 1;
        rotation.choose(1, Vec::new(), entries(&parts, &taken));
    }
    assert_eq!(served, [0, 50, 50]);
    // A share each of what is wanted, and what one leaves is for the others.
    let mut taken = Waiting(vec![9, 9, 9]).take(&rotation.look(9, &[]));
    taken.sort_unstable();
    assert_eq!(taken, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
    assert_eq!(Waiting(vec![9, 0, 0]).take(&rotation.look(9, &[])).len(), 9);
}

#[test]
fn equal_parts_of_one_priority_take_turns_and_are_all_served_before_the_next() {
    let mut rotation = rotation(&regions(), STRICT);
    let taken = Waiting(vec![20, 0, 9, 9, 9, 9]).take(&rotation.look(10, &[]));
    assert_eq!(taken, [0; 10]);
    let mut taken = Waiting(vec![20, 20, 9, 9, 9, 9]).take(&rotation.look(10, &[]));
    taken.sort_unstable();
    assert_eq!(taken, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
}

#[test]
fn weights_hold_where_one_is_wanted_at_a_time_and_where_many_are() {
    for free in [1, 3, 10, 64] {
        let mut rotation = rotation(&images(), WEIGHTED);
        let mut served = vec![0; 3];
        while served.iter().sum::<usize>() < 10_000 {
            let look = rotation.look(free, &[]);
            for part in Waiting(vec![1_000; 3]).take(&look) {
                served[part] += 1;
            }
        }
        let sum: usize = served.iter().sum();
        for (part, share) in [(0, 60), (1, 30), (2, 10)] {
            let percent = 100 * served[part] / sum;
            assert!(percent.abs_diff(share) <= 1, "{free} at once: {served:?}");
        }
    }
    // What one does not use is for the others.
    let mut rotation = rotation(&images(), WEIGHTED);
    assert_eq!(Waiting(vec![0, 0, 50]).take(&rotation.look(10, &[])), [2; 10]);
    let taken = Waiting(vec![0, 50, 50]).take(&rotation.look(10, &[]));
    assert_eq!(taken.iter().filter(|&&part| part == 2).count(), 1);
}

proptest! {
    #[test]
    fn as_many_start_as_there_are_places_and_none_is_left_out_for_a_worse_one(
        waiting in prop::collection::vec(0..6_usize, 6),
        brought in prop::collection::btree_set(0..6_usize, 0..4),
        more in 0..6_usize,
        weighted in any::<bool>(),
    ) {
        let turns = if weighted { WEIGHTED } else { STRICT };
        let parts = parts(&regions(), turns);
        let mut rotation = rotation(&regions(), turns);
        let brought = entries(&parts, &brought.into_iter().collect::<Vec<_>>());
        let free = brought.len() + more;
        let look = rotation.look(free, &brought);
        let mut left = Waiting(waiting.clone());
        let taken = left.take(&look);
        let (before, took) = (brought.len(), taken.len());
        let Choice { start, back } = rotation.choose(free, brought, entries(&parts, &taken));
        prop_assert_eq!(start.len() + back.len(), before + took);
        prop_assert_eq!(start.len(), free.min(before + waiting.iter().sum::<usize>()));
        let group = |part: usize| part / 2;
        let of = |entry: &Entry| group(parts.iter().position(|part| *part == entry.at.channel).unwrap());
        if weighted {
            prop_assert!(back.is_empty());
        } else {
            // Whatever still waits is no better than what starts, and what starts is in order.
            let best_left = (0..6).filter(|&part| left.0[part] > 0).map(group).min();
            let worst = start.iter().map(of).max();
            prop_assert!(best_left.is_none() || worst <= best_left, "{worst:?} starts and {best_left:?} waits");
            prop_assert!(start.is_sorted_by_key(of) && back.iter().all(|entry| Some(of(entry)) >= worst));
        }
    }
}
