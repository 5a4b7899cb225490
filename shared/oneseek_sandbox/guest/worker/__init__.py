"""The worker: the first process of every sandbox, cut by what each part does."""
