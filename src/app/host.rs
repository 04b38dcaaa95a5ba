//! stub
use std::net::IpAddr;
use std::path::Path;
#[derive(Debug)]
pub(super) struct Session;
#[derive(Debug)]
pub(super) enum Role {
    Director,
    RealServer,
}
#[derive(Debug)]
pub(super) struct DirectorWishes {
    pub tun: String,
    pub vips: Vec<IpAddr>,
    pub reals: Vec<IpAddr>,
    pub uplinks: Option<Vec<String>>,
    pub arp: bool,
    pub source: Option<IpAddr>,
    pub announce_table: u32,
    pub force: bool,
}
#[derive(Debug)]
pub(super) struct RealServerWishes {
    pub tun: String,
    pub vips: Vec<IpAddr>,
    pub mss_route: bool,
    pub rule_priority: u32,
    pub table: u32,
}
#[derive(Debug)]
pub(super) struct DirectorPlan {
    pub tun_mtu: u16,
}
#[derive(Debug)]
pub(super) struct RealServerPlan {
    pub tun_mtu: u16,
    pub advertised_mss: u16,
}
impl Session {
    pub async fn open(_: &Path, _: Role) -> anyhow::Result<Self> {
        Ok(Self)
    }
    pub async fn plan_director(&mut self, _: &DirectorWishes) -> anyhow::Result<DirectorPlan> {
        Ok(DirectorPlan { tun_mtu: 1480 })
    }
    pub async fn plan_realserver(
        &mut self,
        _: &RealServerWishes,
    ) -> anyhow::Result<RealServerPlan> {
        Ok(RealServerPlan { tun_mtu: 1480, advertised_mss: 1440 })
    }
    pub async fn install_director(&mut self, _: DirectorPlan) -> anyhow::Result<()> {
        Ok(())
    }
    pub async fn install_realserver(&mut self, _: RealServerPlan) -> anyhow::Result<()> {
        Ok(())
    }
    pub async fn follow(&mut self, _f: impl FnMut(u16)) -> anyhow::Result<()> {
        std::future::pending().await
    }
    pub async fn withdraw(&mut self) {}
    pub async fn undo(&mut self) {}
}
