"""Before beam time: what could any method reach with a scan?"""
