"""nbgrader's settings for this course. Run nbgrader in this folder: every path below is relative to it."""

c = get_config()  # noqa: F821  (nbgrader defines it)

c.CourseDirectory.course_id = "instructrec"
c.CourseDirectory.ignore = [".ipynb_checkpoints", "__pycache__", "*.pyc", ".DS_Store"]

# A cell may run for a minute before it counts as wrong; the kernel is the one of the environment that grades.
c.Execute.timeout = 60

# What `make collect` reads out of a file's name: 20230511_preprocessing.ipynb is preprocessing of student 20230511.
# A student's id may hold anything but slashes; an assignment's name holds small letters, digits and hyphens.
c.FileNameCollectorPlugin.named_regexp = r".*[/\\](?P<student_id>[^/\\]+)_(?P<file_id>[a-z0-9-]+)"
