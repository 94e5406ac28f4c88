//! Table C4 and more: whatever Clouddriver reads out of a body, the mirror shows.

use super::corpus::{Odd, bodies};
use super::differential::{Case, Needs, run as differential};
use super::report::Report;
use super::world::World;
use crate::support::http::Request;

fn request(method: &str, target: &str, odd: &Odd, name: &str) -> Request {
    let mut request = Request::new(method, target);
    if let Some(media) = odd.media {
        request = request.header("Content-Type", media);
    }
    if let Some(encoding) = odd.encoding {
        request = request.header("Content-Encoding", encoding);
    }
    request.body = Some((odd.body)(name, "after"));
    request
}

pub async fn run(report: &Report, world: &World) {
    report
        .case(&world.title("bodies: what a POST created, whatever its body looked like, is what the mirror shows"), async {
            let fairlead = world.fresh_fairlead("bodies-post").await;
            let cases: Vec<_> = bodies()
                .into_iter()
                .map(|odd| Case::new(format!("POST {}", odd.label), Needs::Nothing, move |n| request("POST", "/credentials", &odd, n)))
                .collect();
            differential(world, &fairlead, &cases).await;
        })
        .await;
    report
        .case(&world.title("bodies: PUT /credentials/{name} in the same ways"), async {
            let fairlead = world.fresh_fairlead("bodies-put-named").await;
            let cases: Vec<_> = bodies()
                .into_iter()
                .filter(|odd| !odd.only_create)
                .map(|odd| {
                    Case::new(format!("PUT by name {}", odd.label), Needs::Live, move |n| {
                        request("PUT", &format!("/credentials/{n}"), &odd, n)
                    })
                })
                .collect();
            differential(world, &fairlead, &cases).await;
        })
        .await;
    report
        .case(&world.title("bodies: what a PUT changed, whatever its body looked like, is what the mirror shows"), async {
            let fairlead = world.fresh_fairlead("bodies-put").await;
            let cases: Vec<_> = bodies()
                .into_iter()
                .filter(|odd| !odd.only_create)
                .map(|odd| Case::new(format!("PUT {}", odd.label), Needs::Stored, move |n| request("PUT", "/credentials", &odd, n)))
                .collect();
            differential(world, &fairlead, &cases).await;
        })
        .await;
}
