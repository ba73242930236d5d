//! A long campaign of disasters amid a flood: `make soak`. A short one is part of `make test`.

use std::env;
use std::thread::sleep;
use std::time::Duration;

use sealkit_tests::controller::{Controller, Flags};
use sealkit_tests::plane::Own;
use sealkit_tests::wait::wait_until;

use crate::flood::Flood;

/// What happens to the controller and to its servers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Disaster {
    Kill,
    Freeze,
    ApiServer,
    Store,
}

/// Of ten disasters, seven are kills.
const MIX: [Disaster; 10] = [
    Disaster::Kill,
    Disaster::ApiServer,
    Disaster::Kill,
    Disaster::Freeze,
    Disaster::Kill,
    Disaster::Store,
    Disaster::Kill,
    Disaster::Kill,
    Disaster::Kill,
    Disaster::Kill,
];

#[test]
fn disasters_amid_a_flood_lose_nothing_and_break_nothing() {
    let kills: u32 =
        env::var("SEALKIT_SOAK_KILLS").map_or(7, |kills| kills.parse().expect("a number"));
    let mut plane = Own::take();
    // A restarted container keeps the pod's name, and with it the lease.
    let same_pod = Flags {
        identity: Some("pod".to_owned()),
        ..Flags::default()
    };
    let mut controller = plane.controller(&same_pod);
    controller.wait_leading();
    let shop = plane.namespace("soak");
    let mut flood = Flood::new(&shop, 80);
    let mut killed = 0;
    for round in 0.. {
        let disaster = MIX[round % MIX.len()];
        flood.changes();
        sleep(Duration::from_millis(flood.numbers.below(400)));
        match disaster {
            Disaster::Kill => {
                controller.process.kill().unwrap();
                killed += 1;
                controller = plane.controller(&same_pod);
            }
            Disaster::Freeze => controller = freeze(&plane, controller, &mut flood, &same_pod),
            Disaster::ApiServer => {
                plane.servers.stop_apiserver().unwrap();
                sleep(Duration::from_millis(flood.numbers.below(4_000)));
                plane.servers.start_apiserver().unwrap();
            }
            Disaster::Store => {
                plane.servers.stop_etcd().unwrap();
                sleep(Duration::from_millis(flood.numbers.below(3_000)));
                plane.servers.start_etcd().unwrap();
            }
        }
        // A lease that was lost ends the process, as it should; a pod is started again.
        if !controller.process.is_running() {
            controller = plane.controller(&same_pod);
        }
        if killed >= kills && round % MIX.len() == MIX.len() - 1 {
            break;
        }
        if killed > 0 && round % 50 == 0 {
            println!("{killed} kills, {} rounds", round + 1);
        }
    }
    controller.wait_leading();
    flood.judge();
    controller.assert_lives_within_its_memory();
    println!("{killed} kills survived");
}

/// Stopped past the end of its lease, with another one at work meanwhile, and woken.
fn freeze(plane: &Own, mut frozen: Controller, flood: &mut Flood, same_pod: &Flags) -> Controller {
    let mut second = plane.controller(&Flags::default());
    frozen.process.signal("STOP").unwrap();
    wait_until("the second leads", || second.is_leading());
    flood.changes();
    sleep(Duration::from_millis(flood.numbers.below(500)));
    frozen.process.signal("CONT").unwrap();
    flood.changes();
    second.process.kill().unwrap();
    drop(frozen);
    plane.controller(same_pod)
}
