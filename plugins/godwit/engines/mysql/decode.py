"""Rows as MySQL and MariaDB send them, turned into Arrow columns.

Two layouts come in: rows of the binary protocol (a prepared statement's result) and row images of
the binary log. Both go through the same outputs, so that a value loaded and the same value
replicated are equal by construction.

How the binary log is decoded (what the stream needs)::

    metadata = metadata_of(types, block)                # of the table map, one number per column
    fields = [
        log_field(column, type_code, meta, unsigned=..., charset="latin1", labels=(...))
        or, for a column that isn't wanted: skipped_field(type_code, meta)
        for every column of the table map, in its order
    ]
    decoder = RowDecoder("shop.orders", fields, native=format == MYSQL_COLUMNS,
                         zero_dates="sentinel", error=CaptureError)      # once per table map
    decoder.missing(present)       # names of wanted columns that an image with this bitmap lacks
    starts = decoder.split(buffer, start, end, (present,))               # insert, delete
    starts = decoder.split(buffer, start, end, (before, after))          # update: before, after, …
    keys = decoder.keys(buffer, starts[0::2], ("id",), before)           # exact stored bytes
    batch = decoder.images(buffer, starts[1::2], after, columns=("id", "name"))

`starts` is an ``array('q')`` of positions in `buffer`, where each image's null bitmap begins;
`buffer` is anything with the buffer protocol and may hold many events: `images` and `keys` take any
positions in any order, so the stream can gather whole transactions first, net them out by key and
have only the surviving images decoded. `present` is the event's bitmap of present columns, as bytes
(None = all present).
"""
