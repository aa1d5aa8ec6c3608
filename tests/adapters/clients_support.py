"""What the tests of registered clients share.

Law of this file: nothing here judges.
"""


async def only(store, client_id):
    """The one record of a client."""
    (record,) = await store.records(client_id)
    return record
