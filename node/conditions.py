"""Watches what an operator would watch, and says so before it costs anything: gas, and how deals end."""

import trio

from capanode.node.agent import Agent
from capanode.node.alerts import Alerts, Occasion
from capanode.node.chain.rpc import Rpc
from capanode.node.chain.wire import hexadecimal, read_quantity
from capanode.node.journal import Stored
from capanode.node.units import clock_time, tokens
from capanode.protocol import provider, requester
from capanode.protocol.faults import Unavailable
from capanode.protocol.ids import Address, Wei

GAS_EVERY_S = 600.0
"""How often the balance is looked at: a request each, out of the endpoint's budget."""

DEALS_AHEAD = 20
"""Deals whose gas the wallet should be able to pay at today's price."""

_BOUND = provider.Executing | provider.Committing | provider.Abandoning | provider.Overdue


class DealEnds:
    """Tells how deals end that did not end well."""

    def __init__(self, agent: Agent, alerts: Alerts) -> None:
        self._agent = agent
        self._alerts = alerts
        self._bound: set[str] = set()
        self._doubted: set[str] = set()

    async def run(self) -> None:
        """Watch until cancelled; a watcher that fell behind begins again."""
        while True:
            async with self._agent.watching() as changes:
                self._bound |= {one.key for one in self._agent.open_deals() if isinstance(one.state, _BOUND)}
                async for stored in changes:
                    self.saw(stored)

    def saw(self, stored: Stored) -> None:
        """Take in one change of a deal."""
        match stored.state:
            case provider.Lost() as lost:
                if stored.key in self._bound or lost.burned_wei:
                    self._lost(lost)
                self._bound.discard(stored.key)
            case requester.Failed() as failed if failed.returned_wei:
                fields = {"job": stored.key, "name": failed.order.name, "returned_wei": str(failed.returned_wei)}
                sentence = f"The job {failed.order.name} was not done ({failed.reason}): its money is back."
                self._alerts.raise_(Occasion.DEAL_REFUNDED, sentence, fields)
            case requester.Withheld() | requester.Faulty() as job if stored.key not in self._doubted:
                self._doubted.add(stored.key)
                self._doubt(stored.key, job)
            case state if isinstance(state, _BOUND):
                self._bound.add(stored.key)
            case _:
                if stored.ended:
                    self._bound.discard(stored.key)
                    self._doubted.discard(stored.key)

    def _doubt(self, key: str, job: requester.Withheld | requester.Faulty) -> None:
        fields = {"job": key, "name": job.order.name, "deal": hexadecimal(job.deal.deal_id)}
        until = clock_time(job.commitment.window_ends_at)
        match job:
            case requester.Withheld():
                sentence = (
                    f"The bytes of the result of {job.order.name} are missing ({job.reason}): "
                    f"its commitment can be challenged until {until}."
                )
                self._alerts.raise_(Occasion.RESULT_MISSING, sentence, fields)
            case requester.Faulty():
                sentence = (
                    f"The result of {job.order.name} does not hold, recomputed here (step {job.step}: {job.reason}): "
                    f"it can be challenged until {until}."
                )
                self._alerts.raise_(Occasion.RESULT_WRONG, sentence, {**fields, "step": job.step})

    def _lost(self, lost: provider.Lost) -> None:
        deal = hexadecimal(lost.work.deal_id)
        fields = {"deal": deal, "burned_wei": str(lost.burned_wei), "price_wei": str(lost.work.terms.price_wei)}
        if lost.burned_wei:
            sentence = (
                f"A bond of {tokens(lost.burned_wei)} tokens was burned for the deal {deal[:10]}…: {lost.reason}."
            )
            self._alerts.raise_(Occasion.DEAL_SLASHED, sentence, fields)
        else:
            sentence = f"The deal {deal[:10]}… ended without payment: {lost.reason}."
            self._alerts.raise_(Occasion.DEAL_LOST, sentence, fields)


async def watch_gas(rpc: Rpc, account: Address, gas_per_deal: int, alerts: Alerts) -> None:
    """Tell when the coins that pay for gas run out, until cancelled."""
    was_low = False
    while True:
        try:
            balance = read_quantity(await rpc.call("eth_getBalance", hexadecimal(account), "latest"))
            needed = DEALS_AHEAD * gas_per_deal * read_quantity(await rpc.call("eth_gasPrice"))
        except Unavailable:
            await trio.sleep(GAS_EVERY_S)
            continue
        is_low = balance < needed
        if is_low and not was_low:
            sentence = (
                f"{hexadecimal(account)} holds {tokens(balance)} coins, not enough for the gas of {DEALS_AHEAD} deals: "
                f"send it at least {tokens(needed - balance)}."
            )
            alerts.raise_(Occasion.GAS_LOW, sentence, {"balance_wei": str(balance), "needed_wei": str(Wei(needed))})
        was_low = is_low
        await trio.sleep(GAS_EVERY_S)
