//! Routes of routers: kept beside what else should be, because there may be a million of them and a change
//! of one must not touch the others.
//!
//! Law of a change: checked, then on disk, then in the datapath, then remembered; whatever fails takes
//! everything before it back. A route names ports by their numbers, so a port goes only when no route
//! names it.

use std::collections::{BTreeMap, BTreeSet};

use vswitch_dpapi::message::Request;
use vswitch_dpapi::{PortId, RouteSpec, RouteTarget, RouterId};
use vswitch_flow::Prefix;
use vswitch_rpc::port::Kind;
use vswitch_rpc::{Code, Refusal};

use super::Control;
use crate::dataplane::DataplaneError;
use crate::model::Port;
use crate::store::StoreError;

/// Most routes of a router. One takes about 200 bytes in each process.
pub const ROUTES_MAX: usize = 2_000_000;

/// Where to, and from where.
pub type RouteKey = (Prefix, Option<Prefix>);

/// The routes of one router, in the order of their prefixes.
pub type RouteMap = BTreeMap<RouteKey, RouteTarget>;

/// What is to become of some routes: a target, or none.
pub type RouteChanges = Vec<(RouteKey, Option<RouteTarget>)>;

/// How many routes changes add to those that a router has and to new ones that come `ahead` of them.
///
/// # Errors
/// When they would be more than [`ROUTES_MAX`].
pub(crate) fn count_new(
    have: &RouteMap,
    changes: &RouteChanges,
    ahead: u64,
) -> Result<u64, Refusal> {
    let come = changes.iter().filter(|(_, target)| target.is_some());
    let new: BTreeSet<&RouteKey> = come
        .map(|(key, _)| key)
        .filter(|key| !have.contains_key(key))
        .collect();
    let new = new.len() as u64;
    let len = (have.len() as u64)
        .saturating_add(ahead)
        .saturating_add(new);
    if len > ROUTES_MAX as u64 {
        let text = format!("that would be {len} routes; a router has at most {ROUTES_MAX}");
        return Err(Refusal::new(Code::Refused, text));
    }
    Ok(new)
}

impl Control {
    /// Reads the routes that the store has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load_routes(&mut self) -> Result<(), StoreError> {
        self.routes = self.store.routes()?;
        Ok(())
    }

    /// The routes of a router.
    pub(crate) fn routes_of(&self, router: u32) -> &RouteMap {
        static NONE: RouteMap = RouteMap::new();
        self.routes.get(&router).unwrap_or(&NONE)
    }

    /// Makes changes to the routes of a router, all or none. That they are not too many was
    /// [counted](count_new).
    pub(crate) async fn change_routes(
        &mut self,
        router: u32,
        changes: RouteChanges,
    ) -> Result<(), Refusal> {
        let routes = self.routes_of(router);
        let before: RouteChanges = changes
            .iter()
            .map(|(key, _)| (*key, routes.get(key).cloned()))
            .collect();
        self.store.change_routes(router, &changes)?;
        let told = self.tell_routes(router, &changes).await;
        if let Err(error) = told {
            if let Err(error) = self.store.change_routes(router, &before) {
                tracing::error!(%error, "routes that failed could not be taken out of the store");
            }
            return Err(error.into());
        }
        let routes = self.routes.entry(router).or_default();
        for (key, target) in changes {
            match target {
                Some(target) => routes.insert(key, target),
                None => routes.remove(&key),
            };
        }
        Ok(())
    }

    /// Removes all routes of a router; answers how many there were.
    pub(crate) async fn clear_routes(&mut self, router: u32) -> Result<u64, Refusal> {
        let len = self.routes_of(router).len() as u64;
        if len == 0 {
            return Ok(0);
        }
        self.store.drop_routes(router)?;
        let request = Request::SetRoutes {
            router: RouterId(router),
            routes: Vec::new(),
        };
        let mut told = self.dataplane.tell(&request, &[]).await;
        if told.as_ref().is_err_and(DataplaneError::is_loss) {
            told = match self.recover().await {
                Ok(()) => self.dataplane.tell(&request, &[]).await,
                Err(error) => Err(error),
            };
        }
        if let Err(error) = told {
            let all = self.routes_of(router).iter();
            let all = all
                .map(|(key, target)| (*key, Some(target.clone())))
                .collect();
            if let Err(error) = self.store.change_routes(router, &all) {
                tracing::error!(%error, "routes that stay could not be put back into the store");
            }
            return Err(error.into());
        }
        self.routes.remove(&router);
        Ok(len)
    }

    async fn tell_routes(
        &mut self,
        router: u32,
        changes: &RouteChanges,
    ) -> Result<(), DataplaneError> {
        let spec = |(key, target): &(RouteKey, Option<RouteTarget>)| {
            let (prefix, source) = *key;
            target.as_ref().map(|target| RouteSpec {
                prefix,
                source,
                target: target.clone(),
            })
        };
        let gone = changes.iter().filter(|(_, target)| target.is_none());
        let request = Request::ChangeRoutes {
            router: RouterId(router),
            remove: gone.map(|(key, _)| *key).collect(),
            add: changes.iter().filter_map(spec).collect(),
        };
        let mut told = self.dataplane.tell(&request, &[]).await;
        if told.as_ref().is_err_and(DataplaneError::is_loss) {
            // The next datapath has what we remember, so not these.
            self.recover().await?;
            told = self.dataplane.tell(&request, &[]).await;
        }
        told
    }

    /// Has the datapath take all routes that we remember.
    pub(super) async fn set_all_routes(&mut self) -> Result<(), DataplaneError> {
        let routers: Vec<u32> = self.belief.switch.routers.values().map(|r| r.id).collect();
        for router in routers {
            let routes = self.routes_of(router).iter();
            let request = Request::SetRoutes {
                router: RouterId(router),
                routes: routes
                    .map(|((prefix, source), target)| RouteSpec {
                        prefix: *prefix,
                        source: *source,
                        target: target.clone(),
                    })
                    .collect(),
            };
            self.dataplane.tell(&request, &[]).await?;
        }
        Ok(())
    }

    /// Forgets the routes of a router that is no more.
    pub(crate) fn forget_routes(&mut self, router: u32) {
        if self.routes.remove(&router).is_some()
            && let Err(error) = self.store.drop_routes(router)
        {
            // Its number is never given again, so nobody meets them.
            tracing::error!(%error, "routes of a removed router stay in the store");
        }
    }

    /// Refuses that these ports go while routes name them. Only ports of routers cost a look at
    /// all routes.
    pub(crate) fn check_unrouted<'a>(
        &self,
        ports: impl IntoIterator<Item = &'a Port>,
    ) -> Result<(), Refusal> {
        let ports = ports.into_iter();
        let ports: BTreeSet<PortId> = ports
            .filter(|port| port.kind == Kind::Router)
            .map(|port| PortId(port.id))
            .collect();
        let names = |target: &RouteTarget| match target {
            RouteTarget::Via(hops) => hops
                .iter()
                .any(|hop| hop.port.is_some_and(|port| ports.contains(&port))),
            _ => false,
        };
        if ports.is_empty() {
            return Ok(());
        }
        for (id, routes) in &self.routes {
            let mut users = routes.iter().filter(|(_, target)| names(target));
            if let Some(((prefix, _), _)) = users.next() {
                let mut routers = self.belief.switch.routers.values();
                let router = routers.find(|router| router.id == *id);
                let name = router.map_or("?", |router| router.name.as_str());
                let text = match users.count() {
                    0 => format!("the route to {prefix} of router {name} leads by it"),
                    more => {
                        format!("the route to {prefix} and {more} more of router {name} lead by it")
                    }
                };
                let hint = format!("remove them with vsctl route del {name} first");
                return Err(Refusal::new(Code::Refused, text).hint(hint));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_that_were_checked_before_count_and_those_that_are_replaced_do_not() {
        let key = |text: &str| -> RouteKey { (text.parse().expect("a prefix"), None) };
        let to = |text: &str| (key(text), Some(RouteTarget::Prohibit));
        let have = RouteMap::from([(key("10.0.0.0/8"), RouteTarget::Prohibit)]);
        let changes = vec![
            to("10.0.0.0/8"),
            to("10.1.0.0/16"),
            to("10.1.0.0/16"),
            to("::/0"),
            (key("10.2.0.0/16"), None),
        ];
        let room = ROUTES_MAX as u64 - 1;
        assert_eq!(count_new(&have, &changes, 0), Ok(2));
        assert_eq!(count_new(&have, &changes, room - 2), Ok(2));
        let refused = count_new(&have, &changes, room - 1).expect_err("one too many");
        assert_eq!(
            refused.message,
            "that would be 2000001 routes; a router has at most 2000000"
        );
        assert!(count_new(&have, &changes, u64::MAX).is_err());
    }
}
