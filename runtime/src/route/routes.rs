//! The routes of a router, which may consist of others.

use std::{fmt, ops::Index};

use crate::{message::facts::Kind, route::entry::Route};

/// The routes of a router, in the order in which its handlers are written; of several routers that are served as one, router after router.
///
/// # Examples
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidings::{Message, Router, router};
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[channel("orders:<id>")]
/// # struct OrderPlaced { id: u64 }
/// struct Shop;
///
/// #[router]
/// impl Shop {
///     #[handler]
///     async fn placed(&self, _order: OrderPlaced) {}
/// }
///
/// let channels: Vec<_> = Shop::ROUTES.iter().map(|route| route.template().text()).collect();
/// assert_eq!(channels, ["orders:<id>"]);
/// ```
#[derive(Clone, Copy)]
pub struct Routes {
    /// Of the router itself. It has either these or members.
    own: &'static [Route],
    members: &'static [Routes],
    len: usize,
    /// What a table of them needs at most.
    nodes: usize,
}

/// Places in the table have 16 bits, and one value means none.
const MAX_NODES: usize = 65_534;

impl Routes {
    /// The routes of one router.
    #[doc(hidden)]
    #[must_use]
    pub const fn of(own: &'static [Route]) -> Self {
        let (mut nodes, mut index) = (1, 0);
        while index < own.len() {
            nodes += own[index].template().segments().len();
            index += 1;
        }
        Self { own, members: &[], len: own.len(), nodes }.checked()
    }

    /// The routes of several routers, one after the other.
    #[doc(hidden)]
    #[must_use]
    pub const fn of_members(members: &'static [Self]) -> Self {
        let (mut len, mut nodes, mut member) = (0, 1, 0);
        while member < members.len() {
            len += members[member].len;
            // Each has counted a root.
            nodes += members[member].nodes - 1;
            member += 1;
        }
        Self { own: &[], members, len, nodes }.checked()
    }

    const fn checked(self) -> Self {
        assert!(self.nodes <= MAX_NODES, "a router cannot have more than 65,534 segments");
        self
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether any of them is one of a queue.
    pub(crate) const fn has_queues(&self) -> bool {
        let mut index = 0;
        while let Some(route) = self.get(index) {
            if matches!(route.facts().kind(), Kind::Queue) {
                return true;
            }
            index += 1;
        }
        false
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The route at this place.
    #[must_use]
    #[inline]
    pub const fn get(&self, index: usize) -> Option<&'static Route> {
        if index < self.own.len() {
            return Some(&self.own[index]);
        }
        let (mut rest, mut member) = (index, 0);
        while member < self.members.len() {
            if rest < self.members[member].len {
                return self.members[member].get(rest);
            }
            rest -= self.members[member].len;
            member += 1;
        }
        None
    }

    /// The route at this place, which exists.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> &'static Route {
        match self.get(index) {
            Some(route) => route,
            None => panic!("the router has {} routes, and none at {index}", self.len),
        }
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'static Route> + ExactSizeIterator + use<> {
        let routes = *self;
        (0..routes.len).map(move |index| routes.at(index))
    }

    /// Whether they are those of several routers.
    pub(crate) const fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    pub(super) const fn members(&self) -> &'static [Self] {
        self.members
    }

    /// The number of nodes that a table of them needs at most.
    pub(super) const fn nodes(&self) -> usize {
        self.nodes
    }
}

/// # Panics
///
/// Where there is no such route.
impl Index<usize> for Routes {
    type Output = Route;

    fn index(&self, index: usize) -> &Route {
        self.at(index)
    }
}

impl IntoIterator for Routes {
    type Item = &'static Route;
    type IntoIter = std::vec::IntoIter<&'static Route>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter().collect::<Vec<_>>().into_iter()
    }
}

impl IntoIterator for &Routes {
    type Item = &'static Route;
    type IntoIter = std::vec::IntoIter<&'static Route>;

    fn into_iter(self) -> Self::IntoIter {
        (*self).into_iter()
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        channel::template::{Segment, Template},
        message::facts::Facts,
        route::entry::HandlerOptions,
    };

    use super::*;

    const fn route(handler: &'static str) -> Route {
        const TEMPLATE: Template = Template::new("a:b", &[Segment::literal("a"), Segment::literal("b")]);
        Route::new(handler, "Message", Facts::stub(TEMPLATE), HandlerOptions::DEFAULT)
    }

    const ONE: Routes = Routes::of(&[route("a"), route("b")]);
    const OTHER: Routes = Routes::of(&[route("c")]);
    const ALL: Routes = Routes::of_members(&[ONE, Routes::of_members(&[Routes::of(&[]), OTHER]), ONE]);

    #[test]
    fn routes_of_members_follow_each_other() {
        let names: Vec<_> = ALL.iter().map(Route::handler).collect();
        assert_eq!(names, ["a", "b", "c", "a", "b"]);
        assert_eq!(ALL.into_iter().map(Route::handler).collect::<Vec<_>>(), names);
        assert_eq!(IntoIterator::into_iter(&ALL).map(Route::handler).collect::<Vec<_>>(), names);
        assert_eq!(format!("{OTHER:?}"), format!("[{:?}]", route("c")));
        assert_eq!((ALL.len(), ALL.is_empty(), Routes::of(&[]).is_empty()), (5, false, true));
        assert_eq!(ALL[3].handler(), "a");
        assert!(ALL.get(5).is_none() && ONE.get(2).is_none());
        assert_eq!((ONE.nodes(), ALL.nodes()), (5, 11));
    }

    #[test]
    fn segments_are_counted_and_bounded() {
        let of = |segments: usize| {
            let segments = vec![Segment::literal("a"); segments].leak();
            let facts = Facts::stub(Template::new("a", segments));
            Routes::of(vec![Route::new("a", "Message", facts, HandlerOptions::DEFAULT)].leak())
        };
        let most = of(MAX_NODES - 1);
        assert_eq!(most.nodes(), MAX_NODES);
        assert!(std::panic::catch_unwind(|| of(MAX_NODES)).is_err());
        let members: &'static [Routes] = vec![most, of(1)].leak();
        assert!(std::panic::catch_unwind(|| Routes::of_members(members)).is_err());
    }

    #[test]
    #[should_panic(expected = "none at 2")]
    fn there_is_none_behind_the_last() {
        let _ = &ONE[2];
    }
}
