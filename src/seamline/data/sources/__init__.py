"""Where rows come from: every source gives a delivery (`batches.Delivery`)."""
