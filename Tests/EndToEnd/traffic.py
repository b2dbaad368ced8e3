"""People who write while something happens to the servers, and a ledger of what they were told."""

import asyncio

from chat_client import ChatClient, eventually

PEOPLE = 10
MESSAGES_EACH = 60


async def write_while(cluster, room, urls, disturb):
    """People write to a room through `urls` while `disturb` runs; the ledger must hold, and all
    must end with the same list."""
    ledger, sent = {}, set()
    clients = [
        ChatClient(urls[number % len(urls):] + urls[:number % len(urls)], room, f"user-{number}",
                   ledger, number).start()
        for number in range(PEOPLE)
    ]
    is_over = asyncio.Event()

    async def write(client):
        number = 0
        while number < MESSAGES_EACH or not is_over.is_set():
            sent.add(await client.send(f"{client.user} {number}"))
            number += 1
            await asyncio.sleep(0.1)

    try:
        await eventually(lambda: all(one.connections for one in clients), 30, "all are in")
        writers = [asyncio.create_task(write(client)) for client in clients]
        await eventually(lambda: len(ledger) > PEOPLE * 2, 30, "traffic flows")
        try:
            await disturb()
        finally:
            is_over.set()
        await asyncio.gather(*writers)
        await eventually(lambda: len(ledger) == len(sent), 60, "everything is acknowledged")
        total = len(sent)
        await eventually(
            lambda: all(client.up_to == total for client in clients), 60,
            "everybody has everything")
    finally:
        for client in clients:
            await client.stop()

    assert set(ledger) == sent
    cluster.assert_stored_once(room, ledger)
    assert sorted(ledger.values()) == list(range(1, total + 1))
    assert all(client.ids == clients[0].ids for client in clients)
    assert all(
        bye["code"] == 4001 for client in clients for bye in client.byes)
    assert any(client.byes for client in clients)
    return clients
