"""What is run: tasks, methods, grids and seeds, as plain data, and the jobs that follow."""
